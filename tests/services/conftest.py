"""Stages small enough to know by heart: each negates, or gathers, what it is given."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from onnx import NodeProto, TensorProto, helper

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.lattice import Lattice
from cutwater.cut.stage import Stage
from cutwater.engine.facts.models import ModelRecord
from cutwater.graph.graph import Tensor
from cutwater.profile.files import save_profile
from cutwater.profile.profile import BorderSample, Conditions, Profile, Sample

MakeStage = Callable[..., Stage]


def _stage(k: int, op: str = "Neg", width: int = 4, nodes: list[NodeProto] | None = None) -> Stage:
    """The ``k``-th of a chain over float32 tensors "t0", "t1", ... of shape (batch, ``width``)."""
    names = (f"t{k}", f"t{k + 1}")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name in names]
    nodes = nodes or [helper.make_node(op, names[:1], names[1:])]
    graph = helper.make_graph(nodes, "stage", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    tensors = [Tensor(name, "float32", (1, width), 4 * width, 0) for name in names]
    cuts = [Cut(k + i, (name,), 4 * width, 0, 0, name) for i, name in enumerate(names)]
    data = model.SerializeToString()
    return Stage(*cuts, Form.RAW, Form.RAW, (tensors[0],), (tensors[1],), data, 0, 0, batchable=True, hash=str(k))


@pytest.fixture
def make_stage() -> MakeStage:
    return _stage


@pytest.fixture(scope="session")
def blob_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `plain_record`'s blobs lie, and what is cut from it."""
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="session")
def plain_record(vit_tiny: Path, vit_lattice: Lattice, blob_folder: Path) -> ModelRecord:
    """The small transformer as a cluster knows it, with a profile as of a slow machine: 40 ms, by FLOPs.

    Eight bits per number cost no time and deviate by a fiftieth.
    """
    graph = vit_lattice.graph
    total = sum(op.flops for op in graph.ops)
    profile = Profile(
        model="vit",
        model_hash=graph.hash,
        conditions=Conditions(
            device="slow", cores=4, threads=1, batch=1, busy_cores=0, versions={}, measured_at="2026-01-01T00:00:00"
        ),
        ops={op.name: Sample(0.04 * op.flops / total, 0.0, 1) for op in graph.ops},
        whole=Sample(0.04, 0.0, 1),
        borders=tuple(
            BorderSample(
                cut=f"{cut.before:x}", codec="int8", nbytes=cut.border_bytes / 4, encode=0.0, decode=0.0, error=0.02
            )
            for cut in vit_lattice.cuts
        ),
        stage_overhead=1e-4,
        contention=1.0,
        base_memory=50_000_000,
    )
    model = vit_tiny.read_bytes()
    save_profile(profile, blob_folder / "profile")
    written = (blob_folder / "profile").read_bytes()
    blob, measured = sha256(model).hexdigest(), sha256(written).hexdigest()
    (blob_folder / blob).write_bytes(model)
    (blob_folder / "profile").rename(blob_folder / measured)
    return ModelRecord(name="vit", hash=graph.hash, blob=blob, nbytes=len(model), profile=measured, speed=1.0)
