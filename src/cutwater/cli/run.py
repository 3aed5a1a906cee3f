"""`cutwater run`: plans, starts local workers, streams inputs through them, and sets predicted beside measured."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, progress, results, write_file
from cutwater.cli.live import LiveView
from cutwater.cli.options import (
    Batch,
    Cuts,
    InputSpecs,
    Json,
    Model,
    ObjectiveText,
    PixelMean,
    PixelStd,
    Sizes,
    Threads,
    parse_preparation,
    parse_sizes,
    parse_timeout,
)
from cutwater.cut.lattice import Lattice, build_lattice, find_cut
from cutwater.drivers.loop import run as run_loop
from cutwater.engine.stage.batching import Batching
from cutwater.errors import CutwaterError, InputError
from cutwater.frameworks.base import EngineOptions
from cutwater.frameworks.open import open_graph
from cutwater.lab.inputs import InputOptions, Inputs, Item, good_feeds, open_inputs
from cutwater.lab.planning import LocalTask, plan_locally
from cutwater.lab.timing import MeasureOptions
from cutwater.lab.trial import Trial, run_trial
from cutwater.plan.files import load_plan
from cutwater.plan.fleet import LOCAL_SOURCE
from cutwater.plan.objective import parse_objective
from cutwater.plan.plan import Plan
from cutwater.report.tables import plan_summary, trial_tables
from cutwater.report.trial_page import trial_page
from cutwater.services.workers.local import LocalOptions
from cutwater.services.workers.outcome import Outcome
from cutwater.services.workers.stages import plan_stages
from cutwater.units import parse_seconds
from cutwater.zoo.packages import default_cache

Stages = Annotated[int | None, typer.Option(min=1, help="Number of stages; default: one per core.")]
Given = Annotated[Path | None, typer.Option(help="Run this plan instead of making one.")]
Repeat = Annotated[int, typer.Option(min=1, help="How many times to go through all inputs.")]
Fit = Annotated[str, typer.Option(help="How pictures are fitted: crop, letterbox or stretch.")]
Patience = Annotated[str, typer.Option(help="How long a request waits for company in a batch.")]
Timeout = Annotated[str, typer.Option(help="How long one request may take.")]
Tcp = Annotated[bool, typer.Option("--tcp", help="Loopback TCP instead of Unix sockets.")]
Page = Annotated[Path | None, typer.Option(help="Write an HTML page with the cut model and the timeline.")]


def run(
    model: Model,
    inputs: InputSpecs = ["synthetic"],  # noqa: B006
    stages: Stages = None,
    plan: Given = None,
    cut: Cuts = [],  # noqa: B006
    objective: ObjectiveText = "throughput",
    repeat: Repeat = 10,
    size: Sizes = [],  # noqa: B006
    mean: PixelMean = "0",
    std: PixelStd = "255",
    fit: Fit = "crop",
    threads: Threads = 1,
    batch: Batch = 1,
    patience: Patience = "0 ms",
    timeout: Timeout = "60 s",
    tcp: Tcp = False,
    page: Page = None,
    json: Json = False,
) -> None:
    """Run a model in stages on this machine, and compare what was predicted with what was measured.

    Ends with 1 if any input has no answer; the others are answered all the same.
    """
    if stages is not None and cut and stages != len(cut) + 1:
        raise InputError(f"--cut {len(cut)} times makes {len(cut) + 1} stages, not {stages}; leave out one of the two")
    if plan is not None and (stages is not None or cut):
        raise InputError("--plan says where to cut; leave out --stages and --cut, or --plan")
    preparation = parse_preparation(mean, std, fit)
    options = LocalOptions(
        engine=EngineOptions(threads=threads),
        batching=Batching(limit=batch, patience=parse_seconds(patience)),
        timeout=parse_timeout(timeout),
        tcp=tcp,
    )
    aim = parse_objective(objective)
    graph = open_graph(model, parse_sizes(size))
    lattice = build_lattice(graph)
    items = open_inputs(
        inputs, [graph.tensors[name] for name in graph.inputs], InputOptions(preparation=preparation, repeat=repeat)
    )
    if plan is not None:
        chosen = _loaded(plan)
    else:
        cuts = tuple(find_cut(lattice, text) for text in cut)
        measure = MeasureOptions(threads=threads)
        chosen = _planned(LocalTask(lattice, good_feeds(items, 3), stages, cuts, aim, measure))
    if not json:
        results.print(plan_summary(chosen))
    trial = _stream(lattice, chosen, items, options)
    if page is not None:
        write_file(page, trial_page(graph, lattice, trial).render())
        messages.print(f"written: {page}")
    _tell(trial, json)
    if trial.failures:
        raise typer.Exit(1)


def _loaded(path: Path) -> Plan:
    plan = load_plan(path)
    if plan.source != LOCAL_SOURCE:
        messages.print("predicted for the plan's own nodes; measured here with one worker of this machine for each")
    return plan


def _planned(task: LocalTask) -> Plan:
    with progress("planning") as report:
        return plan_locally(task, default_cache() / "profiles", report)[0]


def _stream(lattice: Lattice, plan: Plan, items: Inputs, options: LocalOptions) -> Trial:
    def told(item: Item, outcome: Outcome | CutwaterError) -> None:
        if isinstance(outcome, CutwaterError) and item.round == 0:
            said = str(outcome).removeprefix(f"{item.name}: ")
            messages.print(f"[red]{outcome.kind}[/] {escape(f'{item.name}: {said}')}")

    with LiveView(plan, items.total) as view:
        return run_loop(
            run_trial(
                plan_stages(lattice, plan),
                plan,
                items,
                options,
                on_ready=lambda: messages.print("streaming"),
                on_outcome=told,
                on_progress=view.show,
            )
        )


def _tell(trial: Trial, json: bool) -> None:
    if json:
        facts = msgspec.to_builtins(trial)
        del facts["trails"]
        print_json(facts)
        return
    for made in trial_tables(trial):
        results.print()
        results.print(made)
    results.print(f"\n{trial.answered} of {trial.requests} inputs answered, {len(trial.failures)} not")
