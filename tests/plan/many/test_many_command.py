"""`cutwater plan --workload` as it is typed, over models whose costs are written down."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import typer
from msgspec.structs import replace
from onnx import TensorProto, helper

from cutwater.cli.plan import plan
from cutwater.cli.plan_many import interruptible
from cutwater.cut.lattice import build_lattice
from cutwater.errors import BadFile, BadQuantity, BadSetting, CutwaterError, InputError, NoPlan
from cutwater.frameworks.open import open_graph
from cutwater.lab.placing import Measured, alike, batches_up_to
from cutwater.plan.fleet import load_fleet
from cutwater.plan.many.files import load_many
from cutwater.profile.files import load_profile, save_profile
from cutwater.profile.profile import Conditions, Profile, Sample

OPS = 8
WHOLE = 0.05
WORKLOAD = """\
duration: 60 s
seed: 7
models:
  cat: {arrivals: {kind: gamma, rate: 8/s, cv: 3}}
  dog:
    arrivals: {kind: gamma, rate: 8/s, cv: 3}
    slo: 300 ms
"""
FLEET = """\
source: gate
nodes:
  - {name: gate, stages: false}
  - {name: a, memory: 150 KiB}
  - {name: b, memory: 150 KiB}
default_link: {bandwidth: 1 Gbit/s, latency: 0.1 ms}
"""


def network(folder: Path, name: str, weight: float) -> None:
    """Eight ops in a row, 50 ms and 128 KiB of weights in all, and a profile beside it."""
    weights = [helper.make_tensor(f"w{k}", TensorProto.FLOAT, [64, 64], [weight] * 4096) for k in range(OPS)]
    ops = [helper.make_node("MatMul", [f"t{k}", f"w{k}"], [f"t{k + 1}"], name=f"op{k}") for k in range(OPS)]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1, 64]) for end in ("t0", f"t{OPS}")]
    body = helper.make_graph(ops, name, ends[:1], ends[1:], weights)
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    graph = open_graph(path)
    conditions = Conditions(
        device="abacus", cores=2, threads=1, batch=1, busy_cores=1, versions={}, measured_at="now"
    )  # fmt: skip
    profile = Profile(
        model=graph.name,
        model_hash=graph.hash,
        conditions=conditions,
        ops={op.name: Sample(WHOLE / OPS, 0.0, 7) for op in graph.ops},
        whole=Sample(WHOLE, 0.0, 7),
        stage_overhead=0.0,
        contention=1.0,
        borders=(),
        base_memory=0,
    )
    save_profile(profile, folder / f"{name}.profile.yaml")


@pytest.fixture(scope="module")
def kennel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kennel")
    network(folder, "cat", 0.5)
    network(folder, "dog", 0.25)
    (folder / "w.yaml").write_text(WORKLOAD)
    (folder / "fleet.yaml").write_text(FLEET)
    return folder


@pytest.fixture
def command(kennel: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.chdir(kennel)
    monkeypatch.setenv("CUTWATER_CACHE", str(kennel))
    app = typer.Typer()
    app.command()(plan)

    def run(*words: str) -> None:
        app(list(words), standalone_mode=False)

    return run


USUAL = (
    "--workload", "w.yaml", "--fleet", "fleet.yaml", "--slo", "5x", "--profile", "cat=cat.profile.yaml",
    "--profile", "dog=dog.profile.yaml", "--steps", "20", "--simulate", "400",
)  # fmt: skip


@pytest.mark.slow
def test_who_runs_where_is_planned_told_and_written(
    command: Callable[..., None], kennel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(*USUAL, "-o", "many.json", "--json")
    facts = json.loads(capsys.readouterr().out)
    many = load_many(kennel / "many.json")
    assert many.groups == (("a", "b"),)
    assert [[way.places for way in model.ways] for model in many.models] == [[("a", "b")], [("a", "b")]]
    assert all(len(way.cuts) == 1 and "op3" in way.cuts[0] for model in many.models for way in model.ways)
    assert [model.slo for model in many.models] == [pytest.approx(0.25, rel=0.01)] * 2
    assert set(many.baselines) == {"one-per-node", "replication", "fixed-pipelines", "greedy"}
    assert facts["attainment"] == many.predicted.attainment > many.baselines["replication"]
    assert 380 <= many.requests <= 400
    assert many.simulated == max(each["simulated"] for each in facts["finalists"])


@pytest.mark.slow
def test_it_is_told_in_tables(command: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    command(*USUAL, "--slo", "dog=200ms", "--simulate", "0", "--method", "replication")
    said = capsys.readouterr().out
    assert "replication (this plan)" in said
    assert "200 ms" in said
    assert "not simulated" in said


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("--method", "best"), BadSetting, "--method best: there is no such method"),
        (("--slo", "soon"), BadQuantity, "--slo soon: write it as 200ms, or as 5x"),
        (("--slo", "-1x"), BadQuantity, "--slo -1x: must be above 0"),
        (("--slo", "cow=1s"), BadSetting, "--slo cow=1s: the workload asks no model 'cow'"),
        (("--model", "cat"), BadSetting, "--model cat: write it as --model MODEL=..."),
        (("--model", "cat=no.onnx"), BadSetting, "--model cat=no.onnx: no such file, and no model of the zoo"),
        (("--profile", "cat=dog.profile.yaml"), BadFile, "was measured on another model"),
        (("--workload", "unknown.yaml"), BadFile, "unknown.yaml:3: models.cow: there is no cow.onnx"),
        (("--workload", "negative.yaml"), BadFile, "negative.yaml:3: models.cat.arrivals.rate: -8 "),
        (("--fleet", "small.yaml"), NoPlan, "cat: no node has the memory for it, whole or cut into up to 2 stages"),
        (("--fleet", "apart.yaml"), InputError, "there is no link from 'gate' to 'a'"),
        (("--cut", "50%"), BadSetting, "--cut is about one model, and does not go with --workload"),
    ],
)
def test_what_cannot_be_planned_says_why(
    command: Callable[..., None], kennel: Path, words: tuple[str, ...], kind: type[CutwaterError], message: str
) -> None:
    (kennel / "unknown.yaml").write_text("duration: 1 s\nmodels:\n  cow: {arrivals: {kind: poisson, rate: 8/s}}\n")
    (kennel / "negative.yaml").write_text("duration: 1 s\nmodels:\n  cat: {arrivals: {kind: poisson, rate: -8}}\n")
    (kennel / "small.yaml").write_text(FLEET.replace("150 KiB", "20 KiB"))
    (kennel / "apart.yaml").write_text(FLEET.partition("default_link")[0])
    with pytest.raises(kind) as refused:
        command(*USUAL, *words)
    assert message in str(refused.value)
    assert refused.value.exit_code == 2


def test_flags_for_many_need_a_workload(command: Callable[..., None]) -> None:
    with pytest.raises(BadSetting, match="--slo is about many models, and needs --workload"):
        command("cat.onnx", "--slo", "5x")
    with pytest.raises(BadSetting, match="give an ONNX file"):
        command()


def test_an_interrupt_asks_to_stop_and_a_second_one_stops() -> None:
    with interruptible() as go_on:
        assert go_on()
        os.kill(os.getpid(), signal.SIGINT)
        assert not go_on()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "many.json: not JSON: "),
        ('{"version": 1, "method": "x", "models": [{"name": "cat", "slo": "soon"}]}', "`$.models[0].slo`"),
        ('{"version": 2}', "missing required field `method`"),
    ],
)
def test_a_file_that_is_no_placement_says_why(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "many.json").write_text(content)
    with pytest.raises(BadFile) as refused:
        load_many(tmp_path / "many.json")
    assert message in str(refused.value)


def test_batches_are_not_planned_from_profiles_of_elsewhere(command: Callable[..., None]) -> None:
    with pytest.raises(BadSetting, match="--batch measures here"):
        command(*USUAL, "--batch", "4")


@pytest.mark.parametrize("count", [2, 8])
def test_what_a_batch_pays_once_is_told_by_two_profiles(kennel: Path, count: int) -> None:
    graph, alone = open_graph(kennel / "cat.onnx"), load_profile(kennel / "cat.profile.yaml")
    each = WHOLE / OPS  # of which a batch pays three quarters once
    joint = Sample(0.75 * each / count + 0.25 * each, 0.0, 7)
    together = replace(alone, ops=dict.fromkeys(alone.ops, joint), conditions=replace(alone.conditions, batch=count))
    like = alike(load_fleet(kennel / "fleet.yaml"), 2, 0.5)
    fixed = Measured(lattice=build_lattice(graph), profile=alone, together=together).fixed(like)
    assert fixed is not None and fixed[-1] == pytest.approx(0.75 * WHOLE / 0.5)
    assert Measured(lattice=build_lattice(graph), profile=alone).fixed(like) is None


@pytest.mark.parametrize(("most", "tried"), [(1, []), (2, [2]), (6, [2, 4, 6]), (8, [2, 4, 8])])
def test_limits_of_batches_that_are_tried(most: int, tried: list[int]) -> None:
    assert batches_up_to(most) == tried
