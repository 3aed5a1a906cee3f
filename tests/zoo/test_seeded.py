"""Seeded networks have the published sizes, run, and stay in range."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from cutwater.zoo.control import build_control_flow, build_lstm
from cutwater.zoo.mobilenet_v2 import build_mobilenet_v2
from cutwater.zoo.resnet50 import build_resnet50
from cutwater.zoo.vit import TINY, build_vit
from cutwater.zoo.yolov8 import build_yolov8n

Build = Callable[[], onnx.ModelProto]

MODELS: list[tuple[Build, tuple[int, ...], tuple[int, ...]]] = [
    (build_resnet50, (2, 3, 224, 224), (2, 1000)),
    (build_mobilenet_v2, (2, 3, 224, 224), (2, 1000)),
    (lambda: build_vit(TINY), (2, 3, 64, 64), (2, 10)),
    (lambda: build_yolov8n(128), (2, 3, 128, 128), (2, 84, 336)),
    (build_lstm, (2, 16, 32), (2, 10)),
    (build_control_flow, (1, 32), (1, 32)),
]


def parameters(model: onnx.ModelProto) -> int:
    return sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "shape", "answer"), MODELS)
def test_it_runs_gives_the_declared_shape_and_stays_in_range(
    make: Build, shape: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    model = make()
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    (out,) = session.run(None, {session.get_inputs()[0].name: noise})
    assert out.shape == answer
    assert np.isfinite(out).all()
    assert 0.01 < out[:, 4:].std() < 10


@pytest.mark.slow
@pytest.mark.parametrize(("make", "shape", "answer"), MODELS)
def test_every_tensor_has_a_shape_and_only_the_batch_is_dynamic(
    make: Build, shape: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    graph = make().graph
    described = {info.name: info for info in (*graph.value_info, *graph.output)}
    for node in graph.node:
        for name in node.output:
            dims = described[name].type.tensor_type.shape.dim if name else ()
            assert {dim.dim_param for dim in dims} <= {"", "batch"}, name
            assert all(dim.dim_param or dim.HasField("dim_value") for dim in dims), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "published"), [(build_resnet50, 25.557e6), (build_mobilenet_v2, 3.505e6), (build_yolov8n, 3.157e6)]
)
def test_it_has_the_published_number_of_parameters(make: Build, published: float) -> None:
    assert parameters(make()) == pytest.approx(published, rel=0.01)


@pytest.mark.slow
def test_yolov8n_crosses_its_middle_with_three_tensors() -> None:
    """Up to the first upsampling, the two finer features and the coarse one are all still needed."""
    graph = build_yolov8n(64).graph
    at = next(index for index, node in enumerate(graph.node) if node.op_type == "Resize")
    made = {name for node in graph.node[:at] for name in node.output}
    needed = {name for node in graph.node[at:] for name in node.input}
    assert len(made & needed) == 3


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    first, again, other = (build_vit(TINY, seed).SerializeToString(deterministic=True) for seed in (1, 1, 2))
    assert first == again != other


def test_batches_are_answered_like_single_pictures() -> None:
    session = onnxruntime.InferenceSession(build_vit(TINY).SerializeToString())
    noise = np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)
    (together,) = session.run(None, {"pictures": noise})
    for index in range(3):
        (alone,) = session.run(None, {"pictures": noise[index : index + 1]})
        np.testing.assert_allclose(together[index], alone[0], atol=1e-5)
