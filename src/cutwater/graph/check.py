"""Refusing a model that is not valid, with a message that says what to do; weights are never copied for it."""

import onnx
from onnx import ModelProto, TensorProto

from cutwater.errors import BadModel
from cutwater.graph.nodes import all_nodes

OLDEST_OPSET = 9
STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.training"})
"""Domains whose ops ONNX defines; ops of any other domain are taken as they are."""


def check_opsets(proto: ModelProto, source: str) -> None:
    """Raises BadModel for an operator set older than 9 or newer than the installed onnx package knows."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    version = versions.get("", versions.get("ai.onnx"))
    if version is None:
        raise BadModel(f"{source}: names no operator set; the file is truncated, or export the model again")
    if version < OLDEST_OPSET:
        raise BadModel(f"{source}: operator set {version} is too old; convert it to {OLDEST_OPSET} or newer")
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise BadModel(f"{source}: operator set {version} is newer than {newest}; upgrade the package onnx")


def check_ops(proto: ModelProto, source: str) -> None:
    """Raises BadModel for a node of a standard domain that this operator set does not define."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    for node in all_nodes(proto.graph.node):
        if node.domain not in STANDARD:
            continue
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = versions.get(node.domain, versions.get("ai.onnx" if domain == "" else domain, 1))
        if not onnx.defs.has(node.op_type, max_inclusive_version=version, domain=domain):
            label = f"{domain or 'standard'} operator set {version}"
            place = f"node {node.name!r}" if node.name else f"the node that makes {next(iter(node.output), '')!r}"
            raise BadModel(
                f"{source}: unknown op {node.op_type!r} ({place}) in the {label}; "
                "correct its domain, or export for an operator set that has it"
            )


def check_structure(bare: ModelProto, source: str) -> None:
    """Runs ONNX's own checker on a model without weight payloads. Raises BadModel."""
    checked = ModelProto()
    checked.CopyFrom(bare)
    for value in checked.graph.output:
        # Engines run models whose outputs have no declared shape; the shape is inferred anyway.
        if not value.type.WhichOneof("value") or value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
            value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
    try:
        onnx.checker.check_model(checked)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())
        raise BadModel(f"{source}: not a valid model ({reason}); export it again") from error
