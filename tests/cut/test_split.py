"""What a stage is made of, what is refused, and that weights nobody asked for are never touched."""

from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import TINY

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.lattice import Lattice, build_lattice, find_cut
from cutwater.cut.split import extract, split
from cutwater.errors import BadCut, BadModel
from cutwater.graph.model import model_from_bytes, read_model
from cutwater.graph.read import build_graph


def lattice_of(name: str) -> Lattice:
    return build_lattice(build_graph(model_from_bytes(TINY[name], name)), collapse=False)


def test_stages_hand_on_what_the_next_one_takes() -> None:
    lattice = lattice_of("diamond")
    chain = [lattice.cuts[0], find_cut(lattice, "after c"), find_cut(lattice, "after a"), lattice.cuts[-1]]
    stages = split(lattice.graph, chain, [Form.RAW, Form.INT8, Form.FLOAT16, Form.RAW])
    for sender, receiver in pairwise(stages):
        assert sender.outputs == receiver.inputs
        assert sender.leave is receiver.enter
    assert sum(stage.flops for stage in stages) == lattice.graph.flops
    for stage in stages:
        loaded = onnx.load_from_string(stage.onnx)
        onnx.checker.check_model(loaded, full_check=True)
        assert [value.name for value in loaded.graph.input] == [tensor.name for tensor in stage.inputs]


def test_a_stage_carries_only_the_weights_it_needs() -> None:
    lattice = lattice_of("early-output")
    first, second, third, last = split(lattice.graph, lattice.cuts)
    names = [{t.name for t in onnx.load_from_string(s.onnx).graph.initializer} for s in (first, second, third, last)]
    assert names == [{"w", "b"}, set(), {"w"}, set()]
    assert [stage.weight_bytes for stage in (first, second, third, last)] == [288, 0, 256, 0]


def test_a_weight_on_both_sides_counts_once_on_each() -> None:
    lattice = lattice_of("shared-weight")
    assert [cut.weight_bytes_before for cut in lattice.cuts] == [0, 256, 256, 256]
    whole = extract(lattice.graph, lattice.cuts[0], lattice.cuts[-1])
    assert whole.weight_bytes == 256


def test_the_same_stage_has_the_same_hash() -> None:
    first, second = lattice_of("diamond"), lattice_of("diamond")
    stages, again = (split(each.graph, [each.cuts[0], each.cuts[3], each.cuts[-1]]) for each in (first, second))
    assert stages == again


def test_dynamic_dimensions_stay_dynamic() -> None:
    lattice = lattice_of("diamond")
    for stage in split(lattice.graph, [lattice.cuts[0], lattice.cuts[3], lattice.cuts[-1]]):
        graph = onnx.load_from_string(stage.onnx).graph
        for value in (*graph.input, *graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert stage.batchable


class TestRefusing:
    def test_a_stage_that_goes_backward_or_nowhere(self) -> None:
        lattice = lattice_of("diamond")
        for begin, end in [(lattice.cuts[3], lattice.cuts[0]), (lattice.cuts[2], lattice.cuts[2])]:
            with pytest.raises(BadCut, match="no stage from"):
                extract(lattice.graph, begin, end)

    def test_a_set_that_is_no_down_set(self) -> None:
        lattice = lattice_of("diamond")
        bogus = Cut(0b10, ("r",), 0, 0, 0, "bogus")
        with pytest.raises(BadCut, match="lacks"):
            extract(lattice.graph, bogus, lattice.cuts[-1])
        with pytest.raises(BadCut, match="down-set"):
            extract(lattice.graph, lattice.cuts[0], bogus)

    def test_a_chain_without_ends(self) -> None:
        lattice = lattice_of("diamond")
        with pytest.raises(BadCut, match="begins with"):
            split(lattice.graph, lattice.cuts[1:])
        with pytest.raises(BadCut, match="3 cuts need 3 forms"):
            split(lattice.graph, lattice.cuts[:3], [Form.RAW])


@pytest.mark.slow
def test_a_model_over_2_gib_is_cut_without_reading_its_weights(tmp_path: Path) -> None:
    """Two matrices of 1 GiB and one small one in external data: only the small one is ever read by its stage."""
    sizes = {"first": [16384, 16384], "second": [16384, 16384], "small": [16384, 4]}
    offset, weights = 0, []
    for name, dims in sizes.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
        length = 4 * dims[0] * dims[1]
        for key, value in (("location", "large.weights"), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        offset += length
        weights.append(tensor)
    with (tmp_path / "large.weights").open("wb") as file:
        file.truncate(offset)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("MatMul", ["h", "second"], ["g"]),
        helper.make_node("MatMul", ["g", "small"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16384])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        weights,
    )
    path = tmp_path / "large.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    lattice = build_lattice(build_graph(read_model(path)), collapse=False)
    assert lattice.cuts[-1].weight_bytes_before == offset
    small = extract(lattice.graph, lattice.cuts[2], lattice.cuts[3])
    assert (small.weight_bytes, len(small.onnx) < 500_000) == (16384 * 16, True)
    with pytest.raises(BadModel, match="2 GiB of weights; choose cuts"):
        extract(lattice.graph, lattice.cuts[0], lattice.cuts[2])
