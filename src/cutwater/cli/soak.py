"""`cutwater soak`: load without faults for long, and whether anything in the cluster grows."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import print_json, results, speaking, write_file
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import BadQuantity
from cutwater.lab.adding import Addition, prepare
from cutwater.lab.drill import Injected, Kind
from cutwater.lab.drills.conduct import DrillOptions, conduct, said
from cutwater.lab.drills.sampler import Sampler
from cutwater.lab.drills.scene import Scene
from cutwater.lab.soak import trends
from cutwater.report.drill import drill_parts, trends_table
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import Seconds, parse_seconds
from cutwater.zoo.packages import default_cache

RARELY = 60
"""Seconds between two lines of progress where there is no terminal."""
SAMPLES = 240
"""How often each process is looked at."""


@with_settings("cluster", "node", "gateway", "coordinator")
def soak(
    resolved: Resolved,
    for_: Annotated[str, typer.Option("--for", help="How long.", metavar="TIME")] = "30 min",
    rate: Annotated[float, typer.Option(min=0.01, max=2.0, help="Offered load, as a share of capacity.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
    model: Annotated[str, typer.Option(help="An ONNX file, or a model of the zoo.")] = "efficientnet-lite0",
    out: Annotated[Path | None, typer.Option(help="Write everything here, as JSON, the samples included.")] = None,
    json: Json = False,
) -> None:
    """Load a cluster of its own for long, and say what of it grows; ends with 1 if anything does.

    Memory, file descriptors, threads and queues of every process are sampled; each gets a straight line, whose slope
    is shown with the margin that holds with 95 % confidence.
    """
    duration = parse_seconds(for_)
    if duration <= 0:
        raise BadQuantity(f"--for {for_}: give a time above 0, such as '30 min'")
    added = prepare(Addition(source=model), default_cache())
    spec = DeploySpec(model=added.record.name)
    options = DrillOptions(Kind.NONE, every=duration, duration=duration, seed=seed, rate=rate, spec=spec)
    sampler = Sampler(duration / SAMPLES)
    home = Home(resolved.home / "soak")
    with speaking(RARELY) as (done, stands):

        def progress(now: Seconds, stage: Scene, faults: list[Injected]) -> None:
            sampler.look(now, stage)
            stands(said(now, duration, stage, faults))

        report = run(conduct(options, home, resolved.settings, added, done, progress))
    found = trends(sampler.samples)
    flat = bool(found) and all(each.flat for each in found)
    facts = {
        "conditions": msgspec.to_builtins(report.conditions),
        "verdict": msgspec.to_builtins(report.verdict),
        "trends": [{**msgspec.to_builtins(each), "flat": each.flat} for each in found],
        "held": flat and report.verdict.held,
    }
    if out is not None:
        write_file(out, msgspec.json.encode({**facts, "samples": msgspec.to_builtins(sampler.samples)}))
    if json:
        print_json(facts)
    else:
        for part in drill_parts(report):
            results.print(part)
        results.print(trends_table(found))
        results.print(f"\nsoak: {'[green]flat[/]' if flat else '[red]not flat[/]'}")
    if not facts["held"]:
        raise typer.Exit(1)
