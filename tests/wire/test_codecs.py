"""Every codec stays within the error it declares, and its 8-bit codes are those of the inference engine."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray
from onnx import TensorProto, helper

from cutwater.cut.form import Form
from cutwater.errors import CodecError
from cutwater.wire.codecs.registry import CODEC_NAMES, get_codec
from cutwater.wire.message import TensorSpec
from cutwater.wire.tensors import pack

Floats = NDArray[np.float32]

shapes = arrays_of.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=8)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**126), max_value=2.0**126)
float_arrays = arrays_of.arrays(np.float32, shapes, elements=finite)
ADVERSARIAL = {
    "zeros": [0, 0, 0],
    "minus zero": [-0.0, -0.0],
    "one constant": [5, 5, 5],
    "one negative constant": [-0.1, -0.1],
    "far from zero": [1000, 1000.001, 1000.002],
    "smallest denormals": [1e-45, -1e-45, 3e-45],
    "scale is denormal": [1e-38, -1e-40, 5e-39],
    "scale is barely normal": [2.0**-118 * 1.01, -1e-40],
    "huge": [1.7e38, -1.7e38, 1e30],
    "one outlier": [1e30, *np.linspace(-1, 1, 50)],
    "zero point on a half": [-0.5, 254.5],
    "zero point on another half": [-1.5, 253.5],
    "ties": np.arange(-128, 128) / 2,
    "beyond float16": [65504, 65505, 65519.99, 65520, 70000, -1e9],
    "float16 denormals": [2.0**-24, 2.0**-25, 2.0**-26, 1.5 * 2.0**-24, -(2.0**-14), 2.0**-14 - 2.0**-26],
    "one": [3.25],
    "none": [],
}


def error(name: str, tensor: Floats) -> Floats:
    codec = get_codec(name)
    parts = codec.convert(tensor)
    assert all(isinstance(part, np.ndarray) for part in parts)
    restored = codec.restore(parts)
    assert isinstance(restored, np.ndarray)
    assert restored.dtype == np.float32
    assert restored.shape == tensor.shape
    return np.abs(restored.astype(np.float64) - tensor)


def test_there_is_a_codec_for_each_form_and_packing() -> None:
    assert len(CODEC_NAMES) == 4 * 3
    assert {get_codec(name).form for name in CODEC_NAMES} == set(Form)
    assert all(get_codec(name).name == name for name in CODEC_NAMES)


@given(st.sampled_from(CODEC_NAMES), float_arrays)
def test_what_comes_back_is_within_the_declared_bound(name: str, tensor: Floats) -> None:
    assert (error(name, tensor) <= get_codec(name).bound(tensor)).all()


@pytest.mark.parametrize("name", CODEC_NAMES)
@pytest.mark.parametrize("values", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_the_bound_holds_where_it_is_hard_to(name: str, values: list[float]) -> None:
    tensor = np.array(values, np.float32)
    assert (error(name, tensor) <= get_codec(name).bound(tensor)).all()
    stacked = np.stack([tensor, tensor * np.float32(0.5), -tensor], axis=-1).reshape(1, -1, 3)
    assert (error(name, stacked) <= get_codec(name).bound(stacked)).all()


@given(st.sampled_from(CODEC_NAMES), st.sampled_from(["float16", "float64", "int64", "uint8", "bool"]), st.data())
def test_tensors_of_other_types_travel_as_they_are(name: str, dtype: str, data: st.DataObject) -> None:
    tensor = data.draw(arrays_of.arrays(dtype, shapes))
    codec = get_codec(name)
    restored = codec.restore(codec.convert(tensor), dtype)
    assert (restored.dtype, restored.tobytes()) == (tensor.dtype, tensor.tobytes())
    assert not codec.bound(tensor).any()


@given(float_arrays)
def test_raw_is_exact_to_the_bit(tensor: Floats) -> None:
    codec = get_codec("raw")
    assert codec.restore(codec.convert(tensor)).tobytes() == tensor.tobytes()


def test_float16_saturates_and_keeps_nan() -> None:
    codec = get_codec("float16")
    tensor = np.array([np.inf, -np.inf, 1e6, np.nan], np.float32)
    assert codec.restore(codec.convert(tensor))[:3].tolist() == [65504, -65504, 65504]
    assert np.isnan(codec.restore(codec.convert(tensor))[3])


@pytest.mark.parametrize("name", ["int8", "int8-channel"])
@pytest.mark.parametrize("bad", [[np.nan, 1], [np.inf, 1], [-np.inf, 1], [3e38, -3e38]])
def test_values_without_an_8_bit_form_are_refused(name: str, bad: list[float]) -> None:
    with pytest.raises(CodecError, match="no 8-bit form"):
        get_codec(name).convert(np.array([bad], np.float32).T)


def test_each_channel_has_its_own_scale() -> None:
    tensor = np.array([[[0.001, 0.002], [1000, 2000]]], np.float32)
    codes, scale, zero = get_codec("int8-channel").convert(tensor)
    assert (codes.shape, scale.shape, zero.shape) == ((1, 2, 2), (2,), (2,))
    assert error("int8-channel", tensor)[0, 0].max() < 1e-5 < error("int8", tensor)[0, 0].max()


@given(arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_dims=1), elements=finite))
def test_without_axis_1_a_channel_codec_is_the_tensor_codec(tensor: Floats) -> None:
    per_tensor, per_channel = get_codec("int8").convert(tensor), get_codec("int8-channel").convert(tensor)
    assert [part.tobytes() for part in per_channel] == [part.tobytes() for part in per_tensor]


@pytest.mark.parametrize("name", ["int8", "int8-channel"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda codes, scale, zero: (codes, scale),
        lambda codes, scale, zero: (codes.astype(np.int32), scale, zero),
        lambda codes, scale, zero: (codes, np.full(7, 1, np.float32), np.zeros(7, np.uint8)),
        lambda codes, scale, zero: (codes, scale, np.zeros((1, 1), np.uint8)),
        lambda codes, scale, zero: (codes, scale * np.float32(np.inf), zero),
    ],
)
def test_parts_that_do_not_fit_are_refused(name: str, spoil: Callable[..., tuple[NDArray[np.generic], ...]]) -> None:
    codec = get_codec(name)
    parts = codec.convert(np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4))
    with pytest.raises(CodecError):
        codec.restore(spoil(*parts))


def test_the_names_of_unknown_codecs_are_refused() -> None:
    with pytest.raises(CodecError, match="'int4'; there are raw, raw\\+lz4"):
        get_codec("int4")


def test_a_form_shrinks_what_travels() -> None:
    tensor = np.random.default_rng(0).standard_normal((1, 16, 20, 20)).astype(np.float32)
    sizes = {}
    for name in CODEC_NAMES:
        codec = get_codec(name)
        parts = codec.convert(tensor)
        specs: tuple[TensorSpec, ...] = pack([(f"x.{n}", p.dtype.name, p) for n, p in enumerate(parts)], "plain")[0]
        sizes[name] = sum(spec.nbytes for spec in specs)
    assert (sizes["raw"], sizes["float16"], sizes["int8"], sizes["int8-channel"]) == (25600, 12800, 6405, 6480)


@pytest.fixture(scope="module")
def engine() -> onnxruntime.InferenceSession:
    """DynamicQuantizeLinear and DequantizeLinear as ONNX Runtime computes them."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["codes", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["back"]),
    ]
    kinds = {"codes": TensorProto.UINT8, "scale": TensorProto.FLOAT, "zero": TensorProto.UINT8}
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    outputs.append(helper.make_tensor_value_info("back", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


NORMAL = {name: values for name, values in ADVERSARIAL.items() if "denormal" not in name or "float16" in name}


def same_as_engine(engine: onnxruntime.InferenceSession, tensor: Floats) -> None:
    codec = get_codec("int8")
    parts = codec.convert(tensor)
    *expected, back = engine.run(None, {"x": tensor})
    assert [part.tolist() for part in parts] == [part.tolist() for part in expected]
    assert np.array_equal(codec.restore(parts), back)


@pytest.mark.parametrize("values", NORMAL.values(), ids=NORMAL.keys())
def test_hard_codes_are_the_engines(engine: onnxruntime.InferenceSession, values: list[float]) -> None:
    same_as_engine(engine, np.array(values, np.float32))


def test_codes_are_the_engines(engine: onnxruntime.InferenceSession) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        size = int(rng.integers(1, 3000))
        spread, shift = 10.0 ** rng.uniform(-20, 20), rng.uniform(-3, 3)
        same_as_engine(engine, ((rng.standard_normal(size) + shift) * spread).astype(np.float32))


def test_denormal_ranges_restore_within_the_bound_in_the_engine_too(engine: onnxruntime.InferenceSession) -> None:
    for name, values in ADVERSARIAL.items():
        tensor = np.array(values, np.float32)
        if name not in NORMAL and tensor.size:
            back = engine.run(["back"], {"x": tensor})[0]
            assert (np.abs(back - tensor) <= get_codec("int8").bound(tensor)).all(), name
