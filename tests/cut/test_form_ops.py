"""Conversions inside a stage's graph: bounds, what travels, and the values that break naive ones."""

import numpy as np
import pytest
from onnx import helper
from split_equals_whole import run, run_stages
from tiny_models import NEWEST, TINY, diamond, model

from cutwater.cut.form import Form
from cutwater.cut.form_ops import travelling
from cutwater.cut.lattice import build_lattice
from cutwater.cut.split import split
from cutwater.graph.graph import Graph, Tensor
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.wire.codecs.registry import get_codec

OPSETS = [9, 10, 11, 13, 18, NEWEST]
CODED = [Form.FLOAT16, Form.INT8, Form.INT8_CHANNEL]


def two_steps(opset: int, rank: int = 4) -> tuple[Graph, np.ndarray]:
    """A model of two copies, so that what arrives in the second stage can be seen as it is."""
    shape = (2, 3, 5, 4)[:rank]
    nodes = [helper.make_node("Identity", ["x"], ["t"]), helper.make_node("Identity", ["t"], ["y"])]
    graph = build_graph(model_from_bytes(model(nodes, {"x": shape}, ["y"], opset=opset), "two"))
    values = np.random.default_rng(opset).normal(0, 20, shape).astype(np.float32)
    return graph, values


def through(graph: Graph, form: Form, values: np.ndarray) -> np.ndarray:
    first, middle, last = build_lattice(graph, collapse=False).cuts
    stages = split(graph, [first, middle, last], [Form.RAW, form, Form.RAW])
    return np.asarray(run_stages(stages, {"x": values})["y"])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("form", CODED)
@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_error_stays_within_the_declared_bound(opset: int, form: Form, rank: int) -> None:
    graph, values = two_steps(opset, rank)
    bound = get_codec(str(form)).bound(values)
    assert (np.abs(through(graph, form, values) - values) <= bound).all()


@pytest.mark.parametrize("form", CODED)
@pytest.mark.parametrize("opset", OPSETS)
def test_what_travels_can_be_restored_by_the_codec_in_numpy(form: Form, opset: int) -> None:
    graph, values = two_steps(opset)
    first, middle, last = build_lattice(graph, collapse=False).cuts
    stage = split(graph, [first, middle, last], [Form.RAW, form, Form.RAW])[0]
    made = run(stage.onnx, {"x": values})
    parts = [made[tensor.name] for tensor in stage.outputs]
    assert [(part.dtype.name, part.shape) for part in parts] == [(t.dtype, t.shape) for t in stage.outputs]
    codec = get_codec(str(form))
    assert (np.abs(codec.restore(parts) - values) <= codec.bound(values)).all()


@pytest.mark.parametrize("opset", OPSETS)
def test_float16_saturates_instead_of_becoming_infinite(opset: int) -> None:
    graph, values = two_steps(opset)
    values.flat[:4] = [1e9, -1e9, 65519, 65504]
    assert through(graph, Form.FLOAT16, values).flat[:4].tolist() == [65504, -65504, 65504, 65504]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("form", CODED)
def test_zeros_stay_zeros(opset: int, form: Form) -> None:
    graph, values = two_steps(opset)
    assert not through(graph, form, np.zeros_like(values)).any()


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("form", CODED)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_values_that_have_no_form_do_not_crash(opset: int, form: Form, poison: float) -> None:
    graph, values = two_steps(opset)
    values[0, 1, 2, 3] = poison
    assert through(graph, form, values).shape == values.shape


def test_only_float32_is_converted() -> None:
    sizes = Tensor("size", "int64", (4,), 32)
    assert travelling(sizes, Form.INT8) == (sizes,)


def test_the_parts_of_a_tensor_are_sized() -> None:
    tensor = Tensor("x", "float32", (1, 8, 5, 5), 800, 0)
    assert [(part.name, part.dtype, part.shape, part.nbytes) for part in travelling(tensor, Form.INT8_CHANNEL)] == [
        ("x.int8-channel", "uint8", (1, 8, 5, 5), 200),
        ("x.int8-channel.scale", "float32", (8,), 32),
        ("x.int8-channel.zero", "uint8", (8,), 8),
    ]


@pytest.mark.parametrize("opset", [9, 13, NEWEST])
@pytest.mark.parametrize("enter", list(Form))
@pytest.mark.parametrize("leave", list(Form))
def test_a_tensor_that_passes_through_changes_form_only_if_the_forms_differ(
    opset: int, enter: Form, leave: Form
) -> None:
    graph = build_graph(model_from_bytes(diamond(opset), "diamond"))
    cuts = build_lattice(graph, collapse=False).cuts
    chain = [cuts[0]]
    for cut in cuts[1:]:
        if chain[-1] <= cut and cut.before.bit_count() in (1, 3, 5, 7):
            chain.append(cut)
    stages = split(graph, chain, [Form.RAW, enter, leave, enter, Form.RAW][: len(chain)])
    values = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype(np.float32)
    whole = run(diamond(opset), {"x": values})["y"]
    assert np.abs(run_stages(stages, {"x": values})["y"] - whole).max() < 0.2
    if enter is leave:
        passing = set(stages[1].begin.border) & set(stages[1].end.border)
        assert passing
        same = [t.name for t in stages[1].inputs if t in stages[1].outputs]
        assert len(same) == sum(len(travelling(graph.tensors[name], enter)) for name in passing)


def test_int64_shapes_cross_as_they_are() -> None:
    graph = build_graph(model_from_bytes(TINY["live-shape"], "live-shape"))
    cuts = build_lattice(graph, collapse=False).cuts
    chain = [cuts[0], next(cut for cut in cuts if set(cut.border) == {"size", "g"}), cuts[-1]]
    stages = split(graph, chain, [Form.RAW, Form.INT8, Form.RAW])
    assert [(t.name, t.dtype) for t in stages[1].inputs if "size" in t.name] == [("size", "int64")]
    values = np.random.default_rng(0).normal(size=(1, 4, 2, 3)).astype(np.float32)
    assert run_stages(stages, {"x": values})["y"].shape == (1, 4, 2, 3)


@pytest.mark.parametrize("optimise", [False, True])
@pytest.mark.parametrize("form", CODED)
@pytest.mark.parametrize("opset", OPSETS)
def test_a_product_of_two_tensors_that_arrive_coded(opset: int, form: Form, optimise: bool) -> None:
    """Engines merge DequantizeLinear with a product into one of integers, which has no scale per channel."""
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Transpose", ["x"], ["b"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    graph = build_graph(model_from_bytes(model(nodes, {"x": (1, 4, 17, 16)}, ["y"], opset=opset), "product"))
    values = np.random.default_rng(opset).normal(0, 20, (1, 4, 17, 16)).astype(np.float32)
    first, *_, middle, last = build_lattice(graph, collapse=False).cuts
    assert middle.border == ("a", "b")
    stages = split(graph, [first, middle, last], [Form.RAW, form, Form.RAW])
    made = run(stages[0].onnx, {"x": values}, optimise)
    codec = get_codec(str(form))
    names = [part.name for part in travelling(graph.tensors["a"], form)]
    restored = codec.restore([made[name] for name in names]).astype(np.float64)
    answered = run(stages[1].onnx, made, optimise)["y"]
    assert np.abs(answered - restored @ restored.swapaxes(2, 3)).max() <= 1e-5 * np.abs(answered).max()
