"""A study's file says everything that is tried, and a mistake in it is reported with file, line and field."""

from pathlib import Path

import pytest

from cutwater.errors import BadFile
from cutwater.lab.studies.reading import load_study
from cutwater.lab.studies.study import Point, Terms

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILE = """\
name: two
question: what do pipelines bring?
models:
  a: &model {seconds: 50 ms, weights: 1 GiB, overhead: 0.02, hop: 0.2 ms}
  b: *model
nodes: {count: 2, weights: 2 GiB}
slo: 5x
placements:
  apart: {method: one-per-node}
  together: {groups: [{nodes: [1, 2], models: [a, b]}]}
baseline: apart
workloads:
  even:
    duration: 20 s
    models: {a: &asked {arrivals: {kind: poisson, rate: 2/s}}, b: *asked}
sweeps:
  s: {load: [0.5, 0.75]}
failure: {node: 1, at: 5 s}
live: {source: vit-tiny, duration: 9 s, placements: [together]}
"""


@pytest.fixture
def write(tmp_path):
    def write(text=FILE, **changes):
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_are_studies(path):
    study = load_study(path)
    assert study.name == path.stem
    assert list(study.points())
    assert list(study.under(study.live).under(study.quick).points())
    assert study.baseline in study.under(study.quick).placements


def test_values_of_a_sweep_are_all_tried_with_and_without_the_failure(write):
    points = list(load_study(write()).points())
    base = Point(sweep="s", workload="even", load=0.5, rate=None, cv=1.0, slo=5.0, nodes=2)
    assert points[0] == base
    assert [(each.load, each.failing) for each in points] == [(0.5, False), (0.5, True), (0.75, False), (0.75, True)]


def test_on_an_occasion_some_of_it_is_otherwise_and_the_baseline_stays(write):
    study = load_study(write())
    live = study.under(study.live)
    assert {model.source for model in live.models.values()} == {"vit-tiny"}
    assert live.workloads["even"].duration == 9.0
    assert list(live.placements) == ["apart", "together"]
    assert list(study.under(Terms()).points()) == list(study.points())


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("seconds: 50 ms", "secnds: 50 ms", 4, "models.a.secnds: unknown field; did you mean 'seconds'"),
        ("seconds: 50 ms", "seconds: -1 s", 4, "models.a.seconds: -1 s is negative"),
        ("seconds: 50 ms, ", "", 4, "models.a: needs either 'source', a file or a model of the zoo, or 'seconds'"),
        ("count: 2", "count: 0", 6, "nodes.count: 0 must be between 1 and 1000"),
        ("slo: 5x", "slo: fast", 7, "slo: 'fast' is no multiple; write it like 5x"),
        ("one-per-node", "one-per-nod", 9, "placements.apart.method: there is none called 'one-per-nod'"),
        ("models: [a, b]}]", "models: [a, c]}]", 10, "placements.together.groups[0].models: there is no model 'c'"),
        ("nodes: [1, 2]", "nodes: [1, 3]", 10, "placements.together.groups[0].nodes: 3 is no node from 1 to 2"),
        ("method: one-per-node", "method: one-per-node, pooled: true", 9, "placements.apart.method: needs one of"),
        ("method: one-per-node", "pooled: yes please", 9, "placements.apart.pooled: expected true or false, not 'yes"),
        ("method: one-per-node", "pooled: true, spares: 1", 9, "placements.apart.spares: one machine has no others"),
        ("method: one-per-node", "pooled: true", 18, "failure: of 'apart', one machine, no node can fail"),
        ("baseline: apart", "baseline: apert", 11, "baseline: there is no placement 'apert'; did you mean 'apart'"),
        ("rate: 2/s", "rate: 0/s", 15, "workloads.even.models.a.arrivals.rate: 0 must be above 0"),
        ("b: *asked", "c: *asked", 15, "workloads.even.models.c: there is no model 'c'"),
        ("load: [0.5, 0.75]", "load: [0.5], rate: [2/s]", 17, "sweeps.s.rate: the load is given already"),
        ("load: [0.5, 0.75]", "find: speed", 17, "sweeps.s.find: 'speed' cannot be looked for"),
        ("load: [0.5, 0.75]", "workload: [odd]", 17, "sweeps.s.workload[0]: there is none called 'odd'"),
        ("load: [0.5, 0.75]", "find: nodes", 17, "sweeps.s: the groups of 'together' are for 2 nodes"),
        ("node: 1, at", "node: 3, at", 18, "failure.node: there is no node 3; there are 1 to 2"),
        ("node: 1, at: ", "node: 1, at: 9", 18, "failure.at: at 9"),
        ("source: vit-tiny", "source: no.onnx, seed: 1", 19, "live.seed: unknown field"),
        ("placements: [together]", "placements: [neither]", 19, "live.placements[0]: there is no placement 'neither'"),
        ("name: two", "name: t/o", 1, "name: 't/o' cannot be the name of a study"),
        ("s: {load", "a/b: {load", 17, "sweeps.a/b: 'a/b' cannot be the name of a sweep"),
        ("weights: 2 GiB", "weights: .inf", 6, "nodes.weights: inf is not a finite size"),
        ("weights: 2 GiB", "weights: 1e400 GB", 6, "nodes.weights: '1e400 GB' is not a finite size"),
    ],
)
def test_a_mistake_is_told_with_line_and_field(write, old, new, line, problem):
    path = write(change=(old, new))
    with pytest.raises(BadFile) as caught:
        load_study(path)
    assert str(caught.value).startswith(f"{path}:{line}: {problem}")


def test_without_an_slo_nothing_can_be_looked_for(write):
    path = write(slo=("slo: 5x\n", ""), sweep=("load: [0.5, 0.75]", "find: rate"))
    with pytest.raises(BadFile, match=r"study.yaml:16: sweeps.s.find: needs an SLO"):
        load_study(path)


def test_a_model_that_is_a_file_must_be_there(write):
    figures = "{seconds: 50 ms, weights: 1 GiB, overhead: 0.02, hop: 0.2 ms}"
    path = write(file=(f"a: &model {figures}", "a: {source: m.onnx}"), other=("b: *model", "b: {seconds: 1 s}"))
    with pytest.raises(BadFile, match=r"study.yaml:4: models.a.source: there is no file .*m.onnx"):
        load_study(path)
