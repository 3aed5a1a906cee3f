"""A small study from its file to its table and its picture, in predicted time; and going on where it stopped."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cutwater.cli.app import app
from cutwater.client.transport import Glance
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import BadFile, BadSetting, NoPlan
from cutwater.lab.load.log import Log
from cutwater.lab.studies.cases import case_of, on, place, shape_of, spare_groups
from cutwater.lab.studies.costs import known_models
from cutwater.lab.studies.live import wanted
from cutwater.lab.studies.loaded import Loaded, loaded_of
from cutwater.lab.studies.measured import Found, as_measured, per_request
from cutwater.lab.studies.reading import load_study
from cutwater.lab.studies.results import ENGINE, LIVE, QUEUES, ResultsFolder, Row
from cutwater.lab.studies.simulated import by_engine, latencies_of
from cutwater.plan.many.served import Group, Observed, Placement, Replica
from cutwater.report.study import lengths_text, sheets, study_lines, study_markdown
from cutwater.report.study_picture import draw_study
from cutwater.workload.schedule import Schedule

FILE = """\
name: two
question: what do pipelines bring?
models:
  a: &model {seconds: 50 ms, weights: 1 GiB, hop: 0.2 ms}
  b: *model
nodes: {count: 2, weights: 1 GiB}
placements:
  apart: {method: one-per-node}
  together: {groups: [{nodes: [1, 2], models: [a, b]}]}
  chosen: {method: anytime}
baseline: apart
steps: 20
workloads:
  even:
    duration: 15 s
    models: {a: &asked {arrivals: {kind: poisson, rate: 2/s}}, b: *asked}
  bursts:
    duration: 15 s
    models: {a: &clumped {arrivals: {kind: gamma, rate: 2/s, cv: 3}}, b: *clumped}
sweeps:
  latency: {load: [0.6]}
"""
SOUGHT = FILE.replace("  chosen: {method: anytime}\n", "").replace("duration: 15 s", "duration: 60 s")
SOUGHT = SOUGHT.replace("sweeps:\n  latency: {load: [0.6]}", "slo: 5x\nsweeps:\n  rate: {find: rate, workload: [even]}")


@pytest.fixture
def study(tmp_path):
    """The study of a text, and its file."""

    def made(text=FILE):
        path = tmp_path / "two.yaml"
        path.write_text(text)
        return load_study(path), path

    return made


def run(path: Path, *arguments: object) -> str:
    result = CliRunner().invoke(app, ["study", str(path), *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_at_any_time_one_machine_as_fast_as_all_has_done_more_than_any_placement(study, tmp_path):
    pooled = FILE.replace("baseline: apart", "  bound: {pooled: true}\nbaseline: apart")
    found, path = study(pooled)
    for point in found.points():
        known = known_models(found, point.nodes, tmp_path)
        done = {}
        for name, way in found.placements.items():
            case = on(way, case_of(found, known, point))
            done[name] = np.sort(case.stream.times + latencies_of(case, place(found, known, case, way)))
        for name in ("apart", "together", "chosen"):
            assert (done["bound"] <= done[name] + 1e-9).all()
            assert (done["bound"] < done[name]).any()
    told = json.loads(run(path, "--out", tmp_path / "out", "--for", "5 s", "--json"))
    assert {row["shape"] for row in told["rows"] if row["placement"] == "bound"} == {"1: a, b"}
    with pytest.raises(BadSetting, match=r"placements\.bound: one machine as fast as all cannot be run live"):
        run(study(pooled + "live: {source: vit-tiny}\n")[1], "--live", "--out", tmp_path / "live")


@pytest.mark.slow
def test_a_study_ends_in_a_table_and_a_picture_and_goes_on_where_it_stopped(study, tmp_path):
    _, path = study()
    out = tmp_path / "out"
    told = json.loads(run(path, "--out", out, "--json"))
    assert len(told["rows"]) == 2 * 3 * 2, "two workloads, three placements, two ways to find out"
    means = {(row["point"]["workload"], row["placement"]): row["mean"] for row in told["rows"] if row["how"] == ENGINE}
    assert means["even", "together"] < means["even", "apart"]
    assert means["bursts", "apart"] / means["bursts", "together"] > means["even", "apart"] / means["even", "together"]
    assert means["bursts", "chosen"] == pytest.approx(means["bursts", "together"], rel=0.01)
    table = (out / "table.md").read_text()
    assert "| workload | placement | pipelines | in time, simulated |" in table
    assert (out / "picture.svg").read_text().startswith("<svg")
    with (out / "table.csv").open(newline="") as file:
        assert [float(row["mean"]) for row in csv.DictReader(file)] == [row["mean"] for row in told["rows"]]

    kept = json.loads((out / "results.json").read_text())
    kept["rows"] = kept["rows"][:6]
    (out / "results.json").write_text(json.dumps(kept))
    assert json.loads(run(path, "--out", out, "--json"))["rows"] == told["rows"]


def test_another_study_does_not_go_on_in_the_folder_of_this_one(study, tmp_path):
    _, path = study()
    run(path, "--out", tmp_path / "out", "--for", "5 s", "--json")
    with pytest.raises(BadFile, match="holds another study, or one with other values"):
        run(path, "--out", tmp_path / "out", "--for", "6 s")


def test_a_study_may_be_run_by_parts_into_one_folder(study, tmp_path):
    _, path = study(FILE.replace("  chosen: {method: anytime}\n", "") + "  lower: {load: [0.3], workload: [even]}\n")
    for sweep, rows in (("lower", 4), ("latency", 12)):
        assert len(json.loads(run(path, "--out", tmp_path / "out", "--sweep", sweep, "--json"))["rows"]) == rows
    with pytest.raises(BadSetting, match="--sweep lowr: the study has none called so; did you mean 'lower'"):
        run(path, "--out", tmp_path / "out", "--sweep", "lowr")


def test_figures_and_searches_cannot_be_run_live(study, tmp_path):
    _, path = study()
    with pytest.raises(BadSetting, match=r"models\.a: figures cannot be run live"):
        run(path, "--live", "--out", tmp_path / "out")
    _, path = study(SOUGHT + "live: {source: vit-tiny}\n")
    with pytest.raises(BadSetting, match=r"sweeps\.rate\.find: nothing is looked for live"):
        run(path, "--live", "--out", tmp_path / "other")


@pytest.mark.slow
def test_what_is_looked_for_is_the_border_and_pipelines_push_it_out(study, tmp_path):
    _, path = study(SOUGHT)
    told = json.loads(run(path, "--out", tmp_path / "out", "--json"))
    found = {row["placement"]: row for row in told["rows"] if row["how"] == QUEUES}
    assert found["together"]["found"] > 1.2 * found["apart"]["found"] > 0
    assert all(0.985 <= row["attainment"] <= 1.0 for row in found.values())
    assert "highest rate" in (tmp_path / "out" / "table.md").read_text()


def test_a_load_is_a_share_of_what_the_nodes_can_do(study):
    two, _ = study()
    point = next(two.points())
    case = case_of(two, known_models(two, 2, Path()), point)
    assert case.rate == pytest.approx(0.6 * 2 / 50e-3)
    assert case.schedule.requests == pytest.approx(15 * case.rate, rel=0.1)


def test_queues_and_engine_agree_where_nobody_is_refused(study):
    two, _ = study()
    known = known_models(two, 2, Path())
    case = case_of(two, known, next(two.points()))
    placed = place(two, known, case, two.placements["together"])
    assert by_engine(case, placed).mean() == pytest.approx(latencies_of(case, placed).mean(), rel=0.01)


def test_spares_answer_while_a_node_is_away(study):
    text = SOUGHT.replace("rate: {find: rate, workload: [even]}", "s: {workload: [even], load: [0.3]}")
    two, _ = study(text + "failure: {node: 1, at: 20 s, back: 20 s}\n")
    known = known_models(two, 2, Path())
    case = case_of(two, known, next(two.points()))
    placed = place(two, known, case, two.placements["together"])
    spares = spare_groups(placed, 1, 2)
    assert [group.nodes for group in spares] == [(0, 0), (1, 1), (1, 0)]
    in_time = [
        sum(by_engine(case, placed, spares=count, failure=failure) < 10) / case.schedule.requests
        for count, failure in ((0, None), (0, two.failure), (1, two.failure))
    ]
    assert in_time[0] > 0.99
    assert in_time[1] < 0.75, "nothing is answered for a third of the time"
    assert in_time[2] > in_time[1] + 0.1


def test_a_placement_becomes_deployments(study):
    two, _ = study()
    known = known_models(two, 2, Path())
    case = case_of(two, known, next(two.points()))
    parted = replace(case.served[0].candidates[1], cuts=("after x",))
    served = tuple(replace(each, candidates=(each.candidates[0], parted)) for each in case.served)
    case = replace(case, served=served)
    together = Placement((Group((0, 1), (Replica(0, 1),)), ))  # fmt: skip
    spec = wanted(case, together, 1)["a"].spec
    assert (spec.places, spec.cuts, spec.chains, spec.spares) == (("node-1", "node-2"), ("after x",), 1, 1)
    assert "b" not in wanted(case, together, 0), "who is nowhere is not deployed"
    whole = Placement((Group((0,), (Replica(0, 0),)), Group((1,), (Replica(0, 0),))))
    spec = wanted(case, whole, 0)["a"].spec
    assert (spec.nodes, spec.places, spec.chains, spec.stages) == (("node-1", "node-2"), (), 2, 1)
    assert isinstance(spec, DeploySpec) and not spec.fallback
    with pytest.raises(NoPlan, match="cut in several ways"):
        wanted(case, Placement((Group((0,), (Replica(0, 0),)), Group((0, 1), (Replica(0, 1),)))), 0)


def test_the_simulator_is_given_what_was_measured(study):
    """Two stages of 20 and 30 ms, of which each costs a node 5 ms besides, and 6 ms on the way."""
    two, _ = study()
    case = case_of(two, known_models(two, 2, Path()), next(two.points()))
    placed = Placement((Group((0, 1), (Replica(0, 1), Replica(1, 1))),))
    stages = {(model, stage): seconds for model in "ab" for stage, seconds in ((0, 0.02), (1, 0.03))}
    found = Found(
        alone=dict.fromkeys("ab", 0.066), computing=stages, answered=dict.fromkeys("ab", 0.5 / 0.035), busy=stages
    )
    computing = {stage: 1.1 * seconds for stage, seconds in stages.items()}
    loaded = Loaded(
        computing=computing,
        queued={("b", 0): 0.024},
        observed={("b", 1): Observed(spread=0.004, rested=-0.003, held=0.002)},
        beside={"b": 0.022},
    )
    seen = as_measured(case, placed, found, loaded).served
    for model, hop in ((0, 0.002), (1, 0.004)):  # for the second one it was seen that ways take longer under load
        first = 0.024 if model else 0.022
        assert seen[model].candidates[1].seconds == pytest.approx((first + 0.005, 0.033 + 0.005))
        assert seen[model].candidates[1].hops == pytest.approx((hop,) * 3)
    assert seen[0].candidates[1].observed == (Observed(), Observed())
    assert seen[1].candidates[1].observed == (Observed(), Observed(spread=0.004, rested=-0.003, held=0.002))


def test_what_was_computed_between_two_looks_is_told_of_each_worker_apart():
    before = {("a", 0, 7): (9.0, 450), ("a", 1, 8): (1.0, 450)}
    after = {("a", 0, 9): (10.0, 500), ("a", 1, 8): (3.0, 490), ("b", 0, 4): (0.0, 0)}
    assert per_request((before, after)) == {("a", 0): 0.02, ("a", 1): 0.05}


def answered(times: np.ndarray, timings: list[tuple[float, str]], model: str = "a") -> Log:
    """Requests with their latencies in milliseconds, and what their answers say."""
    log = Log(Schedule({model: times}, float(times[-1]) + 1.0), timings=True)
    for due, (latency, timing) in zip(times.tolist(), timings, strict=True):
        log.answer(log.fire(), due + latency / 1e3, Glance(timing=timing))
    return log


def test_what_requests_take_beside_computing_is_told_of_those_that_came_when_nobody_was_there():
    """Each third one comes while another is there, and waits for it; all wait 1 ms for their turn, 2 ms on the way."""
    times = np.array([k / 10 - (0.095 if k % 3 == 0 and k else 0.0) for k in range(60)])
    timings = []
    for k in range(60):
        outside, queue, second = (40.0, 15.0, 25.0) if k % 3 == 0 and k else (0.0, 0.0, 20.0 + k % 4)
        says = f"queue;dur={queue}, wait-1;dur=1.0, stage-1;dur=10.0, wait-2;dur=0.0, stage-2;dur={second}"
        timings.append((outside + queue + 1.0 + 10.0 + second + 2.0, says))
    seen = loaded_of([answered(times, timings)], {("a", 0): 0.01, ("a", 1): 0.022}, {"a": 0})
    assert seen.beside == pytest.approx({"a": 0.003})
    assert seen.observed["a", 0] == Observed()
    assert seen.observed["a", 1].spread == pytest.approx(0.004, abs=1.5e-3)
    assert seen.observed["a", 1].rested == 0.0, "nobody waited for a stage"
    short = answered(times[:5], [(10.0, "stage-1;dur=5")] * 5)
    few = loaded_of([short], {("a", 0): 0.005}, {"a": 0})
    assert (few.beside, few.observed) == ({}, {("a", 0): Observed()}), "few requests say nothing"
    assert few.queued == pytest.approx({("a", 0): 0.005})


def test_those_that_waited_for_a_stage_and_those_that_found_it_at_rest_are_told_apart():
    """Half of them wait 8 ms and take 6 ms, half do not wait and take 4 ms, each a little more or less."""
    times = np.arange(80) / 10
    timings = []
    for k in range(80):
        waited, took = (8.0, 6.0) if k % 2 else (0.2, 4.0)
        took += 0.1 * (k // 2 % 3)
        timings.append((waited + took + 1.0, f"queue;dur=0.0, wait-1;dur={waited}, stage-1;dur={took}"))
    seen = loaded_of([answered(times, timings)], {("a", 0): 0.0051}, {"a": 0})
    assert seen.observed["a", 0].rested == pytest.approx(-0.002, rel=0.01)
    assert seen.queued == pytest.approx({("a", 0): 0.0061}, rel=0.01)
    assert seen.observed["a", 0].spread < 0.0003


def test_models_of_which_one_mostly_waits_are_not_taken_for_each_other():
    """At rest the stage takes 0.4 of what it takes otherwise; one model is at rest 30 %, the other 90 % of the time."""
    schedule = Schedule({"a": np.arange(800) / 10, "b": np.arange(200) / 10}, 81.0)
    log = Log(schedule, timings=True)
    counts = {"a": 0, "b": 0}
    _, which = schedule.merged()
    for k, due in zip(which.tolist(), schedule.merged()[0].tolist(), strict=True):
        model = "ab"[k]
        rests = counts[model] % 10 < {"a": 3, "b": 9}[model]
        counts[model] += 1
        took = {"a": 10.0, "b": 20.0}[model] * (0.4 if rests else 1.0)
        timing = f"wait-1;dur={0.0 if rests else 8.0}, stage-1;dur={took}"
        log.answer(log.fire(), due + 0.05, Glance(timing=timing))
    seen = loaded_of([log], {("a", 0): 10e-3 * 0.82, ("b", 0): 20e-3 * 0.46}, {"a": 0, "b": 1})
    assert seen.queued == pytest.approx({("a", 0): 10e-3, ("b", 0): 20e-3})
    assert seen.observed["b", 0].rested == pytest.approx(-12e-3)
    assert seen.observed["a", 0].spread == pytest.approx(0.0, abs=1e-9)


def test_how_much_later_results_leave_while_the_node_computes_on_is_told_by_who_waits_next():
    """A result takes 3 ms longer if the next request waits; who waits is looked at 2 ms late, and loses nothing."""
    rng = np.random.default_rng(3)
    waits = rng.random(200) < 0.5
    timings = []
    for waited, follows in zip(waits, [*waits[1:], False], strict=True):
        way = 5.0 + 3.0 * follows + 2.0 * waited
        wait = 8.0 if waited else 0.0
        timings.append((way + wait + 10.0, f"queue;dur=0.0, wait-1;dur={wait}, stage-1;dur=10.0"))
    seen = loaded_of([answered(np.arange(200) / 10, timings)], {("a", 0): 0.01}, {"a": 0})
    assert seen.observed["a", 0].held == pytest.approx(0.003, rel=1e-3)
    assert seen.beside["a"] == pytest.approx(0.005 + 0.002 * waits.mean() + 0.008 * waits.mean(), rel=1e-3)


def test_whoever_shares_no_node_is_not_in_the_way():
    """The requests of two models overlap; where they share nodes nobody is alone but the first one."""
    schedule = Schedule({"a": np.arange(30) / 10, "b": np.arange(30) / 10 + 0.05}, 3.1)
    log = Log(schedule, timings=True)
    for due in schedule.merged()[0].tolist():
        log.answer(log.fire(), due + 0.08, Glance(timing="wait-1;dur=0.0, stage-1;dur=10.0"))
    computing = {("a", 0): 0.01, ("b", 0): 0.01}
    assert loaded_of([log], computing, {"a": 0, "b": 1}).beside == pytest.approx({"a": 0.07, "b": 0.07})
    assert loaded_of([log], computing, {"a": 0, "b": 0}).beside == {}


def test_nodes_with_a_share_of_a_core_are_that_much_slower_and_nothing_else_is(study):
    two, _ = study(FILE.replace("nodes: {count: 2,", "slo: 5x\nnodes: {count: 2, share: 0.5,"))
    known = known_models(two, 2, Path())
    case = case_of(two, known, next(two.points()))
    assert [served.slo for served in case.served] == pytest.approx([5 * (50e-3 / 0.5 + 2 * 0.2e-3)] * 2)
    seen = known["a"].as_seen(0.04, 0.081, 0.5)
    assert (seen.seconds, sum(seen.candidates[0].hops)) == pytest.approx((0.04, 0.001))
    assert seen.alone(0.5) == pytest.approx(0.081)


def test_groups_by_hand_must_fit_their_nodes_as_those_of_methods_do(study):
    two, _ = study(FILE.replace("nodes: [1, 2], models: [a, b]", "nodes: [1], models: [a, b]"))
    known = known_models(two, 2, Path())
    case = case_of(two, known, next(two.points()))
    with pytest.raises(NoPlan, match=r"nodes\.weights: node 1 cannot hold a, b"):
        place(two, known, case, two.placements["together"])


def test_a_border_of_another_aim_is_looked_for_anew(study):
    points = [next(study(SOUGHT.replace("find: rate", f"find: rate, aim: {aim}"))[0].points()) for aim in (0.99, 0.9)]
    assert points[0] != points[1]


def test_who_runs_nothing_can_fail_without_harm(study):
    two, _ = study(FILE + "failure: {node: 2, at: 1 s, back: 1 s}\n")
    known = known_models(two, 2, Path())
    case = case_of(two, known, next(two.points()))
    placed = Placement((Group((0,), (Replica(0, 0),)),))
    asked = len(case.schedule.times["a"])
    assert np.isfinite(by_engine(case, placed, failure=two.failure)).sum() == asked


def test_tables_of_sweeps_with_other_axes_stand_beside_each_other(study, tmp_path):
    two, _ = study(FILE + "  fixed: {rate: [8/s], workload: [even]}\n")
    folder = ResultsFolder.open(tmp_path / "out", two, True)
    for point in two.points():
        for how in (ENGINE, LIVE):
            folder.add([Row(point=point, placement="apart", how=how, shape="", requests=9, attainment=1.0, mean=0.1)])
    assert "| fixed | even | - | 8/s | apart |" in study_markdown(folder.results)


def test_groups_are_told_in_words(study):
    two, _ = study()
    case = case_of(two, known_models(two, 2, Path()), next(two.points()))
    placed = Placement((Group((0, 1), (Replica(0, 1), Replica(1, 1))),))
    assert shape_of(placed, case.served) == "1+2: a, b"
    assert lengths_text("1: a; 2: b; 3+4: c") == "2 of 1, 1 of 2"


def test_live_figures_stand_beside_simulated_ones(study, tmp_path):
    two, _ = study()
    point = next(two.points())
    folder = ResultsFolder.open(tmp_path / "out", two, True)
    row = Row(point=point, placement="apart", how=ENGINE, shape="1: a; 2: b", requests=100, attainment=1.0, mean=0.095)
    live = Row(
        point=point,
        placement="apart",
        how=LIVE,
        shape="1: a; 2: b",
        requests=100,
        attainment=0.99,
        attainment_margin=0.01,
        mean=0.1,
        mean_margin=0.005,
        facts={"a stage 1 around": 0.05, "a stage 1 meanwhile": 0.051},
    )
    folder.add([row, live])
    again = ResultsFolder.open(tmp_path / "out", two, True)
    assert again.results.rows == [row, live]
    assert [sheet.title for sheet in sheets(again.results)] == ["latency, live", "simulated against live"]
    assert list(study_lines(again.results)) == [
        "simulated against live, at worst: 1.0 points of the requests in time, of the mean latency -5.0%"
    ]
    assert "| 100 ms | 95 ms | -5.0% | +2.0% |" in study_markdown(again.results)
    assert "| 99.00% ±1.0 | 100 ms ±5% |" in study_markdown(again.results)
    assert "apart, live: 100 ms" in draw_study(again.results)
