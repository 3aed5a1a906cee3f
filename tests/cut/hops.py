"""Carrying the borders of a real run over hops: into a Form, into bytes, and back, with every value looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from split_equals_whole import Arrays, returning, run

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.form_ops import travelling
from cutwater.cut.split import split
from cutwater.cut.stage import Stage
from cutwater.graph.graph import Graph
from cutwater.units import RequestId, Seconds
from cutwater.wire.codecs.base import Codec, codec_name
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import Infer
from cutwater.wire.packings import PACKINGS
from cutwater.wire.tensors import pack, tensors


@dataclass
class Journey:
    """One request through stages whose borders travel in different forms."""

    graph: Graph
    worst: dict[str, float] = field(default_factory=dict)
    """Codec -> the largest error seen, as a share of what it declares; at most 1."""
    width: int = 0
    """Tensors of the widest border crossed."""

    def travel(self, cuts: Sequence[Cut], forms: Sequence[Form], feeds: Arrays) -> Arrays:
        """Runs the stages and asserts each border: packed and unpacked bit by bit, restored within the bound, by the
        codec in numpy and by the next stage in its own graph. Returns the answer."""
        sent: dict[str, NDArray[np.generic]] = {}
        arrived = feeds
        for stage in split(self.graph, cuts, forms):
            made = run(returning(stage.onnx, (*stage.begin.border, *stage.end.border)), arrived, optimise=True)
            self._check_restored(stage, made, sent)
            # A tensor handed on in the form it came in, and not read here, is still measured by what was first sent.
            held = {**arrived, **made}
            sent.update({name: held[name] for name in stage.end.border if name in held})
            for packing in PACKINGS:
                arrived = _carried(stage, made, packing)
                self._check_codec(stage, arrived, sent, get_codec(codec_name(stage.leave, PACKINGS[packing])))
        return {name: made[name] for name in self.graph.outputs}

    def _check_restored(self, stage: Stage, made: Arrays, sent: Mapping[str, NDArray[np.generic]]) -> None:
        codec = get_codec(str(stage.enter))
        for name in stage.begin.border:
            if name in sent and name in made:
                self._within(codec, name, made[name], sent[name])

    def _check_codec(self, stage: Stage, parts: Arrays, sent: Mapping[str, NDArray[np.generic]], codec: Codec) -> None:
        self.width = max(self.width, stage.end.width)
        for name in stage.end.border:
            tensor = self.graph.tensors[name]
            own = [parts[part.name] for part in travelling(tensor, stage.leave)]
            self._within(codec, name, codec.restore(own, tensor.dtype), sent[name])

    def _within(self, codec: Codec, name: str, restored: NDArray[np.generic], sent: NDArray[np.generic]) -> None:
        assert (restored.dtype, restored.shape) == (sent.dtype, sent.shape), (codec.name, name)
        bound = codec.bound(sent)
        if not bound.any():
            np.testing.assert_array_equal(restored, sent, err_msg=f"{codec.name} {name}")
            share = 0.0
        else:
            error = np.abs(restored.astype(np.float64) - sent.astype(np.float64))
            share = float((error / bound).max())
            assert share <= 1, (codec.name, name, share)
        self.worst[codec.name] = max(self.worst.get(codec.name, 0.0), share)


def _carried(stage: Stage, made: Arrays, packing: str) -> Arrays:
    """What the other end of the hop unpacks from the bytes, equal to what was packed."""
    parts = [(tensor.name, tensor.dtype, made[tensor.name]) for tensor in stage.outputs]
    specs, buffers = pack(parts, packing)
    frame = Infer(RequestId(1), 1, Seconds(1.0), (), "plain", packing, specs)
    arrays = tensors(frame, [memoryview(buffer) for buffer in buffers])
    for (name, _, array), unpacked in zip(parts, arrays, strict=True):
        np.testing.assert_array_equal(unpacked, array, err_msg=f"{packing} {name}")
    return {tensor.name: array for tensor, array in zip(stage.outputs, arrays, strict=True)}
