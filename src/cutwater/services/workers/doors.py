"""Doors: where a client's arrays enter the first hop (validated, converted, packed) and leave the last one again."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from cutwater.cut.stage import Stage
from cutwater.engine.facts.deployments import Door
from cutwater.engine.facts.gateways import EpochTable
from cutwater.errors import BadTensor, CodecError
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Tensor
from cutwater.wire.codecs.base import Buffer, Codec
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import Answer, TensorSpec
from cutwater.wire.tensors import pack, tensors


class Entry:
    """The way in."""

    def __init__(self, door: Door) -> None:
        self.codec: Codec = get_codec(door.codec)
        self.names: Sequence[str] = door.border
        """What a client's feeds must be called."""
        self._parts = _group(door.border, door.travelling)

    @classmethod
    def of(cls, stage: Stage, codec: str) -> Self:
        """The way into ``stage``, if its inputs travel by ``codec``."""
        return cls(Door(border=stage.begin.border, travelling=stage.inputs, codec=codec))

    def enter(self, feeds: Mapping[str, Array]) -> tuple[tuple[TensorSpec, ...], list[Buffer]]:
        """The specs and packed buffers of one request. Raises BadTensor naming the input and what it must be."""
        if feeds.keys() != self._parts.keys():
            raise BadTensor(f"the inputs are {_listed(self._parts)}; given were {_listed(feeds)}")
        named: list[tuple[str, str, Array]] = []
        for name, wanted in self._parts.items():
            array = np.asarray(feeds[name])
            found = [array]
            if wanted[0].name != name:
                if array.dtype != np.float32:
                    raise BadTensor(f"input {name!r} must be float32 to travel as {self.codec.form}, not {array.dtype}")
                found = list(self.codec.convert(array))
            _check(name, array, found[0], wanted[0])
            named.extend((part.name, part.dtype, value) for part, value in zip(wanted, found, strict=True))
        return pack(named, self.codec.packing.name)

    def zeros(self) -> dict[str, Array]:
        """Feeds of the declared shapes that any client could have sent."""
        return {
            name: np.zeros(parts[0].shape, parts[0].dtype if parts[0].name == name else "float32")
            for name, parts in self._parts.items()
        }


class Exit:
    """The way out."""

    def __init__(self, door: Door) -> None:
        self.codec: Codec = get_codec(door.codec)
        self._parts = _group(door.border, door.travelling)

    @classmethod
    def of(cls, stage: Stage, codec: str) -> Self:
        """The way out of ``stage``, if its outputs travel by ``codec``."""
        return cls(Door(border=stage.end.border, travelling=stage.outputs, codec=codec))

    def leave(self, answer: Answer, buffers: Sequence[memoryview]) -> dict[str, Array]:
        """The outputs by name, restored to float32 where they travelled as something else. Raises CodecError."""
        arrays = {spec.name: array for spec, array in zip(answer.tensors, tensors(answer, buffers), strict=True)}
        outputs: dict[str, Array] = {}
        for name, parts in self._parts.items():
            missing = [part.name for part in parts if part.name not in arrays]
            if missing:
                raise CodecError(f"the answer is without {_listed(dict.fromkeys(missing))}; it has {_listed(arrays)}")
            found = [arrays[part.name] for part in parts]
            outputs[name] = found[0] if parts[0].name == name else self.codec.restore(found)
        return outputs


class Doors:
    """Both ends of one chain."""

    def __init__(self, entry: Entry, exit: Exit) -> None:
        self.enter = entry.enter
        self.leave = exit.leave
        self.zeros = entry.zeros


def doors_of(table: EpochTable) -> dict[tuple[int, int], Doors]:
    """(epoch, chain) -> its doors, for every chain of an epoch."""
    return {(table.epoch, chain): Doors(Entry(entry), Exit(exit)) for chain, (entry, exit) in table.numbered.items()}


def _group(border: Sequence[str], travelling: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Border tensor -> what it travels as: itself, or parts that are called after it and their form."""
    rest = deque(travelling)
    groups: dict[str, list[Tensor]] = {}
    for name in border:
        groups[name] = [rest.popleft()]
        while groups[name][0].name != name and rest and rest[0].name.startswith(f"{groups[name][0].name}."):
            groups[name].append(rest.popleft())
    assert not rest, f"{[tensor.name for tensor in rest]} travel and belong to none of {list(border)}"
    return groups


def _check(name: str, array: Array, found: Array, wanted: Tensor) -> None:
    """Type and rank; which sizes are free only the engine knows, and it says so in the same words."""
    if found.dtype != wanted.dtype or array.ndim != len(wanted.shape):
        raise BadTensor(
            f"input {name!r} must be {wanted.dtype} with {len(wanted.shape)} dimensions like "
            f"{list(wanted.shape)}, not {array.dtype} {list(array.shape)}"
        )


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names)) or "none"
