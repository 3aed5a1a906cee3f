"""From model to graph: sizes, shapes, the batch, what is an op and what is a constant, and how much work it is."""

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cutwater.errors import BadShape
from cutwater.graph.flops import flops_of
from cutwater.graph.model import Model, model_from_bytes
from cutwater.graph.read import build_graph, unknown_shapes
from cutwater.graph.sizes import resolve_sizes
from cutwater.vision.attach import attach_classifier
from cutwater.vision.prepare import Preparation
from cutwater.zoo.vit import TINY, build_vit


def image_model(dims: list[int | str | None], nodes: list[NodeProto] | None = None, opset: int = 13) -> Model:
    weight = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    nodes = nodes or [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    graph = helper.make_graph(
        nodes,
        "image",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight, numpy_helper.from_array(np.array([0], np.int64), "zero")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model_from_bytes(made.SerializeToString(), "image.onnx")


class TestSizes:
    @pytest.mark.parametrize("batch", ["batch", "N", "unk__0", "batch_size", None, "s77"])
    def test_the_batch_is_one_unless_given(self, batch: str | None) -> None:
        model = image_model([batch, 3, 32, 32])
        graph = build_graph(model)
        assert [(t.shape, t.batch_axis) for t in graph.tensors.values()] == [((1, 3, 32, 32), 0), ((1, 8, 32, 32), 0)]
        assert graph.batchable
        assert build_graph(model, {batch or "x:0": 4}).tensors["y"].shape == (4, 8, 32, 32)

    def test_other_dimensions_are_given_by_name_or_by_place(self) -> None:
        graph = build_graph(image_model(["batch", 3, "height", None]), {"height": 64, "x:3": 48})
        assert graph.tensors["y"].shape == (1, 8, 64, 48)
        assert build_graph(image_model(["batch", 3, "height", 5]), {"x:2": 7}).tensors["y"].shape == (1, 8, 7, 5)

    def test_missing_ones_are_listed_with_how_to_set_them(self) -> None:
        with pytest.raises(BadShape, match=r"image\.onnx.* height, x:3; .*--size height=640 --size x:3=640"):
            build_graph(image_model(["batch", 3, "height", None]))

    @pytest.mark.parametrize("first", ["sequence", "seq_len", "T", "num_boxes"])
    def test_a_first_axis_that_is_no_batch_must_be_given(self, first: str) -> None:
        with pytest.raises(BadShape, match=first):
            build_graph(image_model([first, 3, 8, 8]))

    def test_the_bytes_of_an_encoded_picture_are_no_batch(self) -> None:
        network = build_vit(TINY)
        attached = attach_classifier(network, Preparation(), top=3)
        model = model_from_bytes(attached.SerializeToString(), "attached.onnx")
        with pytest.raises(BadShape, match=r"attached\.onnx.* encoded_bytes; .*--size encoded_bytes="):
            resolve_sizes(model)
        sizes = resolve_sizes(model, {"encoded_bytes": 50_000})
        assert (sizes.values, sizes.batch) == ({"encoded_bytes": 50_000}, frozenset())
        graph = build_graph(model, {"encoded_bytes": 50_000})
        assert graph.tensors["encoded"].batch_axis is None
        assert not graph.batchable

    @pytest.mark.parametrize("size", [0, -1, 2**31, 10**30, float("nan"), float("inf"), 3.5, True, "7"])
    def test_a_size_that_makes_no_sense(self, size: object) -> None:
        with pytest.raises(BadShape, match=r"'height' is .* whole number"):
            build_graph(image_model(["batch", 3, "height", 8]), {"height": size})  # type: ignore[dict-item]

    def test_sizes_beyond_any_memory(self) -> None:
        with pytest.raises(BadShape, match="1 TiB"):
            build_graph(image_model(["batch", 3, "height", "width"]), {"height": 2**30, "width": 2**30})

    def test_a_name_that_does_not_exist(self) -> None:
        with pytest.raises(BadShape, match="did you mean 'height'"):
            build_graph(image_model(["batch", 3, "height", 8]), {"heigth": 5})

    @pytest.mark.parametrize(("typo", "meant"), [("widht", "width"), ("Height", "height"), ("x:9", "x:3")])
    def test_a_typo_is_answered_with_what_was_meant(self, typo: str, meant: str) -> None:
        with pytest.raises(BadShape, match=rf"image\.onnx: has no dimension '{typo}'; did you mean '{meant}'\?"):
            build_graph(image_model(["batch", 3, "height", "width"]), {"height": 8, "width": 8, typo: 5})

    def test_a_fixed_dimension_stays(self) -> None:
        with pytest.raises(BadShape, match="fixed at 8"):
            build_graph(image_model(["batch", 3, 8, 8]), {"x:3": 9})

    def test_sizes_that_contradict_the_model(self) -> None:
        nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
        nodes.insert(0, helper.make_node("Constant", [], ["shape"], value_ints=[1, 3, 64]))
        with pytest.raises(BadShape, match="contradict"):
            build_graph(image_model([1, 3, "height", 8], nodes), {"height": 9})

    def test_they_are_part_of_the_identity(self) -> None:
        model = image_model(["batch", 3, "height", 8])
        assert build_graph(model, {"height": 8}).hash != build_graph(model, {"height": 16}).hash


class TestShapes:
    DATA_DEPENDENT = (
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["y"], to=TensorProto.FLOAT),
    )

    def test_what_only_a_run_can_tell_is_listed(self) -> None:
        model = image_model([1, 3, 4, 4], list(self.DATA_DEPENDENT))
        assert unknown_shapes(model) == ["places", "y"]
        with pytest.raises(BadShape, match="places"):
            build_graph(model)

    def test_what_was_seen_is_believed_and_followed(self) -> None:
        model = image_model([1, 3, 4, 4], list(self.DATA_DEPENDENT))
        graph = build_graph(model, None, {"places": ("int64", (4, 48))})
        assert (graph.tensors["y"].shape, graph.tensors["y"].nbytes) == ((4, 48), 768)

    def test_arithmetic_on_shapes_is_worked_out(self) -> None:
        nodes = [
            helper.make_node("Shape", ["x"], ["size"]),
            helper.make_node("Gather", ["size", "zero"], ["count"]),
            helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
            helper.make_node("Concat", ["count", "rest"], ["target"], axis=0),
            helper.make_node("Reshape", ["x", "target"], ["y"]),
        ]
        graph = build_graph(image_model(["batch", 3, 4, 4], nodes))
        assert (graph.tensors["y"].shape, graph.tensors["y"].batch_axis) == ((1, 48), 0)

    def test_the_batch_is_followed_to_another_axis_and_lost_where_it_is_mixed(self) -> None:
        nodes = [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2, 3]),
            helper.make_node("Constant", [], ["flat"], value_ints=[-1, 4]),
            helper.make_node("Reshape", ["t", "flat"], ["y"]),
        ]
        tensors = build_graph(image_model(["batch", 3, 4, 4], nodes)).tensors
        assert [tensors[name].batch_axis for name in ("x", "t", "y")] == [0, 1, None]


class TestOps:
    def test_what_does_not_depend_on_the_request_is_no_op(self) -> None:
        nodes = [
            helper.make_node("Neg", ["w"], ["minus"]),
            helper.make_node("Conv", ["x", "minus"], ["c"]),
            helper.make_node("Shape", ["c"], ["size"]),
            helper.make_node("Reshape", ["c", "size"], ["y"]),
            helper.make_node("Relu", ["c"], ["nobody_reads_this"]),
        ]
        graph = build_graph(image_model([1, 3, 8, 8], nodes))
        assert [op.kind for op in graph.ops] == ["Conv", "Reshape"]
        assert graph.ops[0].weights == ("minus",)
        assert graph.ops[0].weight_bytes == 8 * 27 * 4
        assert graph.weights == {"minus": 864, "size": 32}

    def test_the_shape_of_something_dynamic_is_one(self) -> None:
        nodes = [helper.make_node("Shape", ["x"], ["size"]), helper.make_node("Reshape", ["x", "size"], ["y"])]
        assert [op.kind for op in build_graph(image_model(["batch", 3, 8, 8], nodes)).ops] == ["Shape", "Reshape"]

    def test_chance_is_never_copied_into_two_stages(self) -> None:
        nodes = [
            helper.make_node("RandomNormal", [], ["noise"], shape=[1, 3, 8, 8]),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ]
        assert [op.kind for op in build_graph(image_model([1, 3, 8, 8], nodes)).ops] == ["RandomNormal", "Add"]

    def test_weights_kept_in_constant_nodes_count_as_weights(self) -> None:
        value = numpy_helper.from_array(np.ones((8, 3, 1, 1), np.float32))
        nodes = [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Conv", ["x", "k"], ["y"])]
        assert build_graph(image_model([1, 3, 8, 8], nodes)).ops[0].weight_bytes == 96

    def test_functions_of_the_model_are_opened(self) -> None:
        body = helper.make_function(
            "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
        )
        graph = helper.make_graph(
            [helper.make_node("Twice", ["x"], ["y"], domain="own")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        )
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        made = helper.make_model(graph, functions=[body], opset_imports=imports, ir_version=9)
        assert [op.kind for op in build_graph(model_from_bytes(made.SerializeToString(), "f")).ops] == ["Add"]


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "attributes", "flops"),
    [
        ("Conv", [(1, 3, 8, 8), (16, 3, 3, 3)], [(1, 16, 8, 8)], {}, 2 * 16 * 64 * 27),
        ("Conv", [(1, 8, 8, 8), (8, 1, 3, 3), (8,)], [(1, 8, 8, 8)], {"group": 8}, 8 * 64 * 19),
        ("ConvTranspose", [(1, 4, 5, 5), (4, 2, 3, 3)], [(1, 2, 7, 7)], {}, 2 * 100 * 18),
        ("Gemm", [(5, 3), (5, 7), (7,)], [(3, 7)], {"transA": 1}, 2 * 3 * 7 * 5 + 21),
        ("MatMul", [(2, 4, 5), (5, 6)], [(2, 4, 6)], {}, 2 * 48 * 5),
        ("Einsum", [(2, 3, 4), (2, 4, 5)], [(2, 3, 5)], {"equation": "bij,bjk->bik"}, 2 * 2 * 3 * 4 * 5),
        ("LSTM", [(7, 1, 3), (1, 20, 3), (1, 20, 5)], [(7, 1, 1, 5)], {}, 7 * (2 * 20 * 8 + 160)),
        ("MaxPool", [(1, 2, 8, 8)], [(1, 2, 4, 4)], {"kernel_shape": [2, 2]}, 32 * 4),
        ("Softmax", [(1, 10)], [(1, 10)], {}, 50),
        ("Add", [(1, 10), (10,)], [(1, 10)], {}, 10),
        ("ReduceMean", [(1, 10)], [(1, 1)], {}, 10),
        ("Reshape", [(1, 10), (2,)], [(2, 5)], {}, 0),
        ("Resize", [(1, 1, 2, 2)], [(1, 1, 4, 4)], {"mode": "nearest"}, 0),
    ],
)
def test_flops(
    kind: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], attributes: dict[str, int], flops: int
) -> None:
    node = helper.make_node(kind, [f"i{i}" for i in range(len(inputs))], ["o"], **attributes)
    assert flops_of(node, tuple(inputs), tuple(outputs)) == flops


def test_known_models_have_the_flops_their_papers_state() -> None:
    """ResNet-50 has 4.1 billion multiply-adds at 224 x 224 (He et al., table 1: 3.8 without the last additions)."""
    path = onnx.__path__[0] + "/backend/test/data/light/light_resnet50.onnx"
    with open(path, "rb") as file:  # noqa: PTH123
        graph = build_graph(model_from_bytes(file.read(), "resnet50"))
    assert graph.flops == pytest.approx(8.2e9, rel=0.02)
