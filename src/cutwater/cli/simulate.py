"""`cutwater simulate`: what a plan would do under load, in virtual time, by the machines that would run it."""

from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from cutwater.cli.console import print_json, results
from cutwater.cli.options import Json
from cutwater.drivers.sim.pipeline import PipelineOptions, SimPipeline
from cutwater.drivers.sim.plan_faults import parse_fault, suffer
from cutwater.drivers.sim.workload import parse_arrivals
from cutwater.drivers.sim.world import WorldOptions
from cutwater.engine.gateway.admission import Admission
from cutwater.errors import InputError
from cutwater.plan.files import load_plan
from cutwater.plan.fleet import load_fleet
from cutwater.profile.files import load_profile
from cutwater.units import format_seconds, parse_seconds


def simulate(
    plan: Annotated[Path, typer.Argument(help="A plan file.")],
    rate: Annotated[float | None, typer.Option(help="Requests per second; default: 70 % of what is predicted.")] = None,
    duration: Annotated[str, typer.Option("--for", help="How long requests come.")] = "60 s",
    arrivals: Annotated[str, typer.Option(help="poisson, constant, or cv=8 for bursts.")] = "poisson",
    seed: Annotated[int, typer.Option(help="Of everything that is left to chance.")] = 0,
    fleet: Annotated[Path | None, typer.Option(help="The fleet the plan was made for: who shares what.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="The profile the plan was made with: contention, spread, cost of frames.")
    ] = None,
    fault: Annotated[
        list[str], typer.Option("--fault", help='What goes wrong: "kill NODE at 10 s", "slow NODE 4 at 10 s for 5 s".')
    ] = [],  # noqa: B006
    timeout: Annotated[str, typer.Option(help="A request's time.")] = "60 s",
    window: Annotated[int, typer.Option(min=1, help="Most requests under way at once.")] = 64,
    json: Json = False,
) -> None:
    """Predict a plan's throughput and latency under load."""
    chosen = load_plan(plan)
    offered = 0.7 * chosen.score.throughput if rate is None else rate
    seconds = parse_seconds(duration)
    if not 0 < offered < float("inf") or seconds <= 0:
        raise InputError("--rate and --for must be above 0; a plan without a predicted throughput needs --rate")
    coming = parse_arrivals(arrivals)(offered, Random(seed))
    faults = [parse_fault(text) for text in fault]
    pipeline = SimPipeline(
        chosen,
        fleet=load_fleet(fleet) if fleet is not None else None,
        profile=load_profile(profile) if profile is not None else None,
        options=PipelineOptions(
            world=WorldOptions(seed=seed),
            admission=Admission(window=window, queue=10**6),
            timeout=parse_seconds(timeout),
        ),
    )
    began = pipeline.world.clock.now
    pipeline.offer(takewhile(lambda when: when < seconds, coming))
    suffer(pipeline, faults)
    pipeline.world.settle(began + seconds + parse_seconds(timeout) + 1.0)
    figures = msgspec.to_builtins(pipeline.world.figures())
    busy = {k: worker.busy / (pipeline.world.clock.now - began) for k, worker in enumerate(pipeline.workers)}
    if json:
        print_json({"offered": offered, **figures, "busy": busy, "predicted": chosen.score.throughput})
    else:
        _tell(figures, offered, {pipeline.workers[k].process.name: share for k, share in busy.items()})


def _tell(figures: dict[str, Any], offered: float, busy: dict[str, float]) -> None:
    table = Table("", "simulated", title="under load, in virtual time")
    table.add_row("offered", f"{offered:.4g} requests/s")
    table.add_row("throughput", f"{figures['throughput']:.4g} requests/s")
    for name in ("p50", "p90", "p99", "worst"):
        table.add_row(name, format_seconds(figures[name]))
    table.add_row("answered", f"{figures['answered']} of {figures['asked']}")
    for kind, count in figures["errors"].items():
        table.add_row(kind, str(count))
    for name, share in busy.items():
        table.add_row(f"{name} computes", f"{100 * share:.0f} % of the time")
    results.print(table)
