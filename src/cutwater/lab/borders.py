"""Measuring what codecs do to the borders of a model: size, time, and the error they cause in the answers."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np
from onnx import ModelProto, helper

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.form_ops import Conversion, effective, travelling
from cutwater.cut.split import extract
from cutwater.errors import CodecError
from cutwater.frameworks.base import Array, Session
from cutwater.graph.graph import Graph, Tensor
from cutwater.graph.tensors import elem_type_of
from cutwater.lab.activations import ends
from cutwater.lab.timing import Feeds, MeasureOptions, time_session
from cutwater.profile.profile import BorderSample
from cutwater.wire.codecs.base import Codec, Packing
from cutwater.wire.codecs.registry import get_codec

Progress = Callable[[str, float], None]

_PACKING_ROUNDS = 3
_CONVERSION = MeasureOptions(rounds=15, seconds=0.05)


@dataclass(frozen=True)
class _FormCost:
    """One form at one border, conversions inside the engine."""

    parts: list[list[Array]]
    """What travels, per request."""
    leave: float
    arrive: float
    """Seconds of the conversion, beyond handing the tensors through."""
    error: float


def measure_borders(
    graph: Graph,
    cuts: Sequence[Cut],
    codecs: Sequence[str],
    requests: Sequence[Feeds],
    options: MeasureOptions = MeasureOptions(),  # noqa: B008
    progress: Progress | None = None,
) -> list[BorderSample]:
    """Each codec at each cut, on the real activations of ``requests``.

    A conversion is timed where it will run, in the engine, as a graph of its own: inside a stage it would be a small
    difference of two large times. The error is that of the model's outputs when this border alone is converted.
    A codec that cannot carry a border's values (8 bits and infinities) is left out there.

    Raises:
        CodecError: An unknown codec.
        BadTensor: ``requests`` are not what the model wants.
    """
    chosen = [get_codec(name) for name in codecs]
    samples: list[BorderSample] = []
    last = ends(graph)[1]
    single = replace(options, batch=1)
    empty = empty_run_seconds(single)
    for number, cut in enumerate(cuts):
        if progress:
            progress(f"border {cut.label}", number / len(cuts))
        borders = _borders(graph, cut, requests, single)
        rest = None
        if cut.before != last.before and any(codec.form is not Form.RAW for codec in chosen):
            rest = options.framework.load(extract(graph, cut, last).onnx, options.engine)
        forms: dict[Form, _FormCost | None] = {}
        for codec in chosen:
            if codec.form not in forms:
                forms[codec.form] = _form_cost(graph, cut, codec, borders, rest, single, empty)
            cost = forms[codec.form]
            if cost is not None:
                samples.append(_border_sample(cut, codec, cost))
        if rest is not None:
            rest.close()
    return samples


def _border_sample(cut: Cut, codec: Codec, cost: _FormCost) -> BorderSample:
    packed = [_pack(codec.packing, parts) for parts in cost.parts]
    return BorderSample(
        cut=f"{cut.before:x}",
        codec=codec.name,
        nbytes=fmean(size for size, _, _ in packed),
        encode=cost.leave + median(encode for _, encode, _ in packed),
        decode=cost.arrive + median(decode for _, _, decode in packed),
        error=cost.error,
    )


def _borders(graph: Graph, cut: Cut, requests: Sequence[Feeds], options: MeasureOptions) -> list[Feeds]:
    """The tensors at a cut, for each request."""
    if cut.before == 0:
        return list(requests)
    session = options.framework.load(extract(graph, ends(graph)[0], cut).onnx, options.engine)
    found: list[Feeds] = [dict(zip(session.outputs, session.run(feeds), strict=True)) for feeds in requests]
    session.close()
    return found


def _form_cost(
    graph: Graph,
    cut: Cut,
    codec: Codec,
    borders: Sequence[Feeds],
    rest: Session | None,
    options: MeasureOptions,
    empty: float,
) -> _FormCost | None:
    """The form at one border; None where it cannot carry the values."""
    try:
        parts = [[part for name in cut.border for part in codec.convert(border[name])] for border in borders]
        restored = [_restored(graph, codec, border) for border in borders]
    except CodecError:
        return None
    if codec.form is Form.RAW:
        return _FormCost(parts, 0.0, 0.0, 0.0)
    opset = graph.opsets.get("", 1)
    tensors = [graph.tensors[name] for name in cut.border if effective(graph.tensors[name], codec.form) is not Form.RAW]
    leave = arrive = 0.0
    if tensors:
        leave, arrive = (
            max(0.0, seconds - empty)
            for seconds in _conversion_seconds(tensors, codec.form, opset, borders[0], options)
        )
    return _FormCost(parts, leave, arrive, _output_error(borders, restored, rest))


def _restored(graph: Graph, codec: Codec, border: Feeds) -> dict[str, Array]:
    return {name: codec.restore(codec.convert(value), graph.tensors[name].dtype) for name, value in border.items()}


def _output_error(borders: Sequence[Feeds], restored: Sequence[Feeds], rest: Session | None) -> float:
    """Largest relative deviation of the model's outputs, max |y' - y| / max |y|."""
    worst = 0.0
    for exact, lossy in zip(borders, restored, strict=True):
        wanted = rest.run(exact) if rest is not None else list(exact.values())
        found = rest.run(lossy) if rest is not None else list(lossy.values())
        worst = max(worst, *(_deviation(a, b) for a, b in zip(wanted, found, strict=True)))
    return worst


def _deviation(wanted: Array, found: Array) -> float:
    if wanted.dtype.kind != "f" or wanted.size == 0:
        return float(wanted.shape != found.shape or not np.array_equal(wanted, found))
    if wanted.shape != found.shape:
        return float("inf")
    exact = wanted.astype(np.float64)
    difference = float(np.abs(found.astype(np.float64) - exact).max())
    return difference / max(float(np.abs(exact).max()), 1e-30)


def _conversion_seconds(
    tensors: Sequence[Tensor], form: Form, opset: int, border: Feeds, options: MeasureOptions
) -> tuple[float, float]:
    """Seconds of a run that converts ``tensors`` into their form, and of one that restores them."""
    feeds: Mapping[str, Array] = {tensor.name: border[tensor.name] for tensor in tensors}
    took = []
    for leave in (True, False):
        session = options.framework.load(_conversion_model(tensors, form, opset, leave), options.engine)
        took.append(time_session(session, feeds, _CONVERSION).median)
        feeds = dict(zip(session.outputs, session.run(feeds), strict=True))
        session.close()
    return took[0], took[1]


def empty_run_seconds(options: MeasureOptions) -> float:
    """Seconds of a run that does nothing: entering and leaving the engine."""
    one = Tensor("nothing", "float32", (1,), 4)
    graph = helper.make_graph(
        [helper.make_node("Identity", [one.name], ["same"])],
        "nothing",
        [_value(one)],
        [_value(replace(one, name="same"))],
    )
    session = options.framework.load(_model(graph, 17), options.engine)
    seconds = time_session(session, {one.name: np.zeros(1, np.float32)}, _CONVERSION).median
    session.close()
    return seconds


def _conversion_model(tensors: Sequence[Tensor], form: Form, opset: int, leave: bool) -> bytes:
    """A model that does what the splitter appends to the sending stage, or prepends to the receiving one."""
    conversions = [Conversion(tensor, form, opset) for tensor in tensors]
    for conversion in conversions:
        conversion.leave() if leave else conversion.arrive()
    whole = [_value(tensor) for tensor in tensors]
    parts = [_value(part) for tensor in tensors for part in travelling(tensor, form)]
    nodes = [node for conversion in conversions for node in conversion.nodes]
    constants = [constant for conversion in conversions for constant in conversion.constants]
    graph = helper.make_graph(nodes, "conversion", *((whole, parts) if leave else (parts, whole)), constants)
    return _model(graph, opset)


def _value(tensor: Tensor) -> object:
    return helper.make_tensor_value_info(tensor.name, elem_type_of(tensor.dtype), tensor.shape)


def _model(graph: object, opset: int) -> bytes:
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _pack(packing: Packing, parts: Iterable[Array]) -> tuple[int, float, float]:
    """Bytes packed, seconds to pack, seconds to unpack; the medians of a few rounds."""
    views = [(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data, part.itemsize) for part in parts if part.size]
    packed = [packing.pack(view, itemsize) for view, itemsize in views]
    if packing.name == "plain":
        return sum(map(len, packed)), 0.0, 0.0
    encode, decode = [], []
    for _ in range(_PACKING_ROUNDS):
        start = time.perf_counter()
        for view, itemsize in views:
            packing.pack(view, itemsize)
        middle = time.perf_counter()
        for (view, itemsize), data in zip(views, packed, strict=True):
            packing.unpack(memoryview(data), view.nbytes, itemsize)
        encode.append(middle - start)
        decode.append(time.perf_counter() - middle)
    return sum(map(len, packed)), median(encode), median(decode)
