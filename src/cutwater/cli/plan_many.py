"""`cutwater plan --workload`: who of many models runs on which nodes, so that most requests are answered in time."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.errors import BadQuantity, BadSetting, did_you_mean
from cutwater.lab.load.work import Work, drawn, from_file, models_of, places_of, slos_of
from cutwater.lab.placing import Goal, Measured, engine_trial, fleet_of, located, measured, served_models
from cutwater.plan.fleet import Fleet, load_fleet
from cutwater.plan.many.choose import METHODS, Placed, plan_many
from cutwater.plan.many.files import ManyPlan, many_plan, save_many
from cutwater.plan.many.served import Served
from cutwater.plan.solvers.base import Effort
from cutwater.report.placement import methods_table, placement_table, predicted_table, simulated_line
from cutwater.units import Seconds, parse_seconds
from cutwater.zoo.packages import default_cache

LONGEST_PIPELINE = 8
"""Stages that are tried, where nobody says."""
LIMITS = 0.5
"""Of the time, for the choice of batches after the search."""


class Many(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of many models; see `cutwater.cli.plan.plan`."""

    workload: Path
    slo: Sequence[str]
    file: Sequence[str]
    profile: Sequence[str]
    fleet: Path | None
    method: str
    stages: int | None
    batch: int
    seed: int | None
    steps: int
    within: str
    simulate: int
    out: Path | None
    json: bool


def plan_many_models(many: Many) -> None:
    """Read, measure, search, tell."""
    if many.method not in METHODS:
        raise BadSetting(f"--method {many.method}: there is no such method{did_you_mean(many.method, METHODS)}")
    limit = _limit(many.within)
    work = from_file(many.workload, None, many.seed)
    schedule = drawn(work)
    served, fleet = _served(many, work)
    arrivals = [schedule.times.get(model.name, np.empty(0)) for model in served]
    trial, requests = engine_trial(served, fleet, arrivals, many.simulate)
    with progress("planning") as report, interruptible() as go_on:
        until = time.monotonic() + limit
        searching = until - (LIMITS * limit if many.batch > 1 else 0.0)
        placed = plan_many(
            served,
            fleet,
            arrivals,
            method=many.method,
            alike=True,
            effort=Effort(
                rng=np.random.default_rng(many.seed or 0),
                go_on=lambda: go_on() and time.monotonic() < searching,
                steps=many.steps,
            ),
            afterwards=lambda: go_on() and time.monotonic() < until,
            trial=lambda placement: trial(placement) if many.simulate and go_on() else None,
            told=report,
        )
        ended = not go_on()
    plan = many_plan(placed, served, fleet.nodes, requests)
    if ended:
        messages.print("stopped: this is the best that was found so far")
    if many.out is not None:
        save_many(plan, many.out)
        messages.print(f"written: {many.out}")
    _tell(plan, placed, many.json)


def _served(many: Many, work: Work) -> tuple[list[Served], Fleet]:
    """The models with what is known of them, and the nodes."""
    names, cache = models_of(work), default_cache()
    places = places_of(many.workload, work)
    files = located(names, _pairs("--model", many.file, names), many.workload.parent, places, cache)
    profiles = {name: Path(text) for name, text in _pairs("--profile", many.profile, names).items()}
    if profiles and many.batch > 1:
        raise BadSetting(
            "--batch measures here what several requests at once gain, which says nothing of where the profiles given "
            "by --profile were measured; leave one of the two out"
        )
    goals = goals_of(work, many.slo)
    fleet = load_fleet(many.fleet) if many.fleet is not None else None
    seen: dict[tuple[Path, Path | None], Measured] = {}
    models = {}
    with progress("measuring") as report:
        for k, (name, path) in enumerate(files.items()):
            which = path, profiles.get(name)
            if which not in seen:
                seen[which] = measured(path, cache, which[1], _part(report, name, k, len(files)), many.batch)
            models[name] = seen[which]
    fleet = fleet or fleet_of(next(iter(models.values())))
    with progress("pipelines of") as report:
        return served_models(models, fleet, goals, many.stages or LONGEST_PIPELINE, report), fleet


def _tell(plan: ManyPlan, placed: Placed, json: bool) -> None:
    if json:
        finalists = [
            {"method": each.method, "attainment": each.attainment, "simulated": each.tried} for each in placed.finalists
        ]
        print_json({**_facts(plan), "finalists": finalists})
        return
    for made in (placement_table(plan), predicted_table(plan), methods_table(plan)):
        results.print(made)
        results.print()
    results.print(simulated_line(plan))


def _facts(plan: ManyPlan) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(plan)
    facts["attainment"] = plan.predicted.attainment
    return facts


def goals_of(work: Work, texts: Sequence[str]) -> dict[str, Goal]:
    """Model -> how soon its answers are wanted: as given for it, else as given for all, else as the workload says.

    ``["5x", "bert=200 ms"]``: five times what a request takes alone; for bert 200 ms.

    Raises:
        BadQuantity: Neither a time nor a multiple of one.
        BadSetting: A goal for a model that nobody asks, or none for one that somebody does.
    """
    models = models_of(work)
    given = {model: _goal(text) for model, text in _pairs("--slo", texts, models, for_all=True).items()}
    own = {model: Goal(seconds=slo) for model, slo in slos_of(work, {}).items()}
    without = [model for model in models if not (model in given or "" in given or model in own)]
    if without:
        raise BadSetting(
            f"no SLO is known for {', '.join(without)}; give --slo 5x, --slo 200ms, or 'slo' in the workload"
        )
    return {model: given.get(model) or given.get("") or own[model] for model in models}


def _goal(text: str) -> Goal:
    try:
        goal = Goal(times=float(text[:-1])) if text.endswith("x") else Goal(seconds=parse_seconds(text))
    except (ValueError, BadQuantity) as error:
        raise BadQuantity(
            f"--slo {text}: write it as 200ms, or as 5x: five times what a request takes alone"
        ) from error
    if not 0 < goal.seconds + goal.times < float("inf"):
        raise BadQuantity(f"--slo {text}: must be above 0")
    return goal


def _pairs(flag: str, texts: Sequence[str], models: Sequence[str], *, for_all: bool = False) -> dict[str, str]:
    """``["bert=words.onnx"]`` -> {"bert": "words.onnx"}; what is said for all, under "". Raises BadSetting."""
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if not value or not (name or for_all):
            raise BadSetting(f"{flag} {text}: write it as {flag} MODEL=...")
        if name and name not in models:
            raise BadSetting(f"{flag} {text}: the workload asks no model {name!r}{did_you_mean(name, models)}")
        found[name] = value
    return found


def _limit(text: str) -> Seconds:
    seconds = parse_seconds(text)
    if not seconds > 0:
        raise BadQuantity(f"--within {text}: must be above 0")
    return seconds


def _part(report: Callable[[str, float], None], name: str, k: int, count: int) -> Callable[[str, float], None]:
    return lambda what, share: report(f"{name}: {what}", (k + share) / count)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Whether to go on: until Ctrl-C, after which the best so far counts. A second Ctrl-C ends the command."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: not stopped
    finally:
        signal.signal(signal.SIGINT, before)
