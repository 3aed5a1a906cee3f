"""Reading model files: what is wrong with a file is said by name, with what to do; weights outside stay outside."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cutwater.cut.lattice import build_lattice
from cutwater.cut.split import split
from cutwater.errors import BadModel
from cutwater.graph.model import model_from_bytes, read_model
from cutwater.graph.read import build_graph


def proto(opset: int = 13, kind: str = "MatMul", domain: str = "") -> ModelProto:
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), name) for name in ("w", "v")]
    nodes = [
        helper.make_node(kind, ["x", "w"], ["h"], domain=domain),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])],
        weights,
        value_info=[helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", 64])],
    )
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def saved(folder: Path, model: ModelProto, external: bool = False) -> Path:
    path = folder / "two.onnx"
    onnx.save(model, path, save_as_external_data=external, location="two.weights", size_threshold=0)
    return path


def edit_location(path: Path, location: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


class TestAFileThatIsNoModel:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "empty"),
            (b"#!/bin/sh\necho hello\n", "not an ONNX file"),
            (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX file"),
            (proto().SerializeToString()[:-500], "truncated"),
            (proto().SerializeToString()[:20], "truncated|not an ONNX file"),
        ],
    )
    def test_says_what_it_is(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "broken.onnx"
        path.write_bytes(content)
        with pytest.raises(BadModel, match=message) as raised:
            read_model(path)
        assert "broken.onnx" in str(raised.value)

    @pytest.mark.parametrize("cut", range(0, len(proto().SerializeToString()), 1499))
    def test_truncated_anywhere_is_a_typed_error(self, tmp_path: Path, cut: int) -> None:
        path = tmp_path / "broken.onnx"
        path.write_bytes(proto().SerializeToString()[:cut])
        with pytest.raises(BadModel, match=r"broken\.onnx"):
            read_model(path)

    def test_or_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BadModel, match="no such file"):
            read_model(tmp_path / "absent.onnx")


class TestAModelThatIsInvalid:
    def test_an_op_the_standard_does_not_have(self, tmp_path: Path) -> None:
        with pytest.raises(BadModel, match=r"two\.onnx: unknown op 'Teleport'"):
            read_model(saved(tmp_path, proto(kind="Teleport")))

    @pytest.mark.parametrize(
        ("name", "message"),
        [("blocks.5/fc", r"\(node 'blocks\.5/fc'\)"), ("", r"\(the node that makes 'h'\)")],
    )
    def test_the_node_of_an_unknown_op_is_named(self, tmp_path: Path, name: str, message: str) -> None:
        model = proto(kind="Teleport")
        model.graph.node[0].name = name
        with pytest.raises(BadModel, match=message):
            read_model(saved(tmp_path, model))

    def test_an_unknown_op_inside_a_branch(self, tmp_path: Path) -> None:
        model = proto()
        made = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 64])
        body = helper.make_graph([helper.make_node("Teleport", ["y"], ["z"], "far")], "body", [], [made])
        true = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
        model.graph.node.extend([true, helper.make_node("If", ["yes"], ["w2"], then_branch=body, else_branch=body)])
        with pytest.raises(BadModel, match=r"two\.onnx: unknown op 'Teleport' \(node 'far'\)"):
            read_model(saved(tmp_path, model))

    def test_an_op_newer_than_the_operator_set(self, tmp_path: Path) -> None:
        with pytest.raises(BadModel, match="unknown op 'Mish'"):
            read_model(saved(tmp_path, proto(kind="Mish")))

    @pytest.mark.parametrize(("opset", "message"), [(8, "too old"), (999, "upgrade the package onnx")])
    def test_an_operator_set_out_of_range(self, tmp_path: Path, opset: int, message: str) -> None:
        with pytest.raises(BadModel, match=message):
            read_model(saved(tmp_path, proto(opset)))

    def test_a_value_nobody_makes(self) -> None:
        model = proto()
        model.graph.node[1].input[0] = "ghost"
        with pytest.raises(BadModel, match="ghost"):
            model_from_bytes(model.SerializeToString(), "two")

    def test_an_output_that_is_a_weight(self) -> None:
        model = proto()
        model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [64, 64]))
        with pytest.raises(BadModel, match="output 'w' is a stored weight"):
            model_from_bytes(model.SerializeToString(), "two")


class TestExternalData:
    def test_stages_carry_their_own_weights(self, tmp_path: Path) -> None:
        graph = build_graph(read_model(saved(tmp_path, proto(), external=True)))
        inline = build_graph(model_from_bytes(proto().SerializeToString(), "two"))
        for stage, expected in zip(
            split(graph, build_lattice(graph, collapse=False).cuts),
            split(inline, build_lattice(inline, collapse=False).cuts),
            strict=True,
        ):
            loaded, wanted = (onnx.load_from_string(s.onnx).graph.initializer for s in (stage, expected))
            assert [t.name for t in loaded] == [t.name for t in wanted]
            np.testing.assert_array_equal(numpy_helper.to_array(loaded[0]), numpy_helper.to_array(wanted[0]))

    def spoil_missing(path: Path) -> None:
        (path.parent / "two.weights").unlink()

    def spoil_short(path: Path) -> None:
        (path.parent / "two.weights").write_bytes(bytes(1000))

    def spoil_parent(path: Path) -> None:
        edit_location(path, "../two.weights")

    def spoil_absolute(path: Path) -> None:
        edit_location(path, "/etc/hostname")

    def spoil_link(path: Path) -> None:
        (path.parent / "two.weights").unlink()
        (path.parent / "two.weights").symlink_to("/etc/hostname")

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (spoil_missing, r"needs the file 'two\.weights', which is missing"),
            (spoil_short, "truncated"),
            (spoil_parent, "outside the model's folder"),
            (spoil_absolute, "outside the model's folder"),
            (spoil_link, "outside the model's folder"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
        path = saved(tmp_path, proto(), external=True)
        spoil(path)
        with pytest.raises(BadModel, match=message) as raised:
            read_model(path)
        assert "two.onnx" in str(raised.value)
        assert "'w'" in str(raised.value)

    def test_bytes_cannot_have_any(self, tmp_path: Path) -> None:
        data = saved(tmp_path, proto(), external=True).read_bytes()
        with pytest.raises(BadModel, match="read it from disk"):
            model_from_bytes(data, "two")


class TestIdentity:
    def test_the_hash_is_of_content_wherever_the_weights_lie(self, tmp_path: Path) -> None:
        outside = read_model(saved(tmp_path, proto(), external=True))
        changed = proto()
        changed.graph.initializer[0].raw_data = bytes(64 * 64 * 4)
        hashes = [outside.hash] + [
            model_from_bytes(model.SerializeToString(), "m").hash for model in (proto(), proto(), changed)
        ]
        assert hashes[0] == hashes[1] == hashes[2] != hashes[3]

    def test_names_scopes_and_notes(self) -> None:
        model = proto()
        first, second = model.graph.node
        second.name = "/blocks/blocks.5/fc/MatMul"
        first.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'stem', 'stem.conv', 'matmul']")
        first.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/somebody/secret.py")
        graph = build_graph(model_from_bytes(model.SerializeToString(), "two"))
        assert [op.name for op in graph.ops] == ["MatMul_0", "/blocks/blocks.5/fc/MatMul"]
        assert [op.scope for op in graph.ops] == ["stem.conv", "blocks.5.fc"]
        stages = split(graph, build_lattice(graph, collapse=False).cuts)
        assert not any(b"secret" in stage.onnx for stage in stages)

    def test_ops_of_a_domain_of_our_own_are_taken_as_they_are(self) -> None:
        model = proto(kind="Anything", domain="ai.cutwater.vision")
        graph = build_graph(model_from_bytes(model.SerializeToString(), "two"))
        assert [(op.kind, op.domain, op.flops) for op in graph.ops] == [
            ("Anything", "ai.cutwater.vision", 0),
            ("MatMul", "", 2 * 64 * 64),
        ]
        assert graph.tensors["h"].shape == (1, 64)
        assert graph.tensors["h"].batch_axis == 0
        assert len(split(graph, build_lattice(graph, collapse=False).cuts)) == 2
