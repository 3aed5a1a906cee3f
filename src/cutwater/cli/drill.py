"""`cutwater drill`: break a cluster of its own on purpose, under load, and print the verdict."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, results, speaking, write_file
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json, parse_timeout
from cutwater.drivers.loop import run
from cutwater.drivers.sim.workload import parse_arrivals
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import BadQuantity
from cutwater.lab.adding import Addition, prepare
from cutwater.lab.drill import HABITS, Injected, Kind
from cutwater.lab.drills.conduct import DrillOptions, Report, conduct, said
from cutwater.lab.drills.scene import Scene
from cutwater.report.drill import drill_parts
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.settings.settings import Settings
from cutwater.units import Seconds, parse_seconds
from cutwater.zoo.packages import default_cache

KEPT = 0.5
"""Share of the capacity that is offered, unless something else is asked for."""
RARELY = 30
"""Seconds between two lines of progress where there is no terminal."""


@with_settings("cluster", "node", "gateway", "coordinator")
def drill(
    resolved: Resolved,
    kind: Annotated[Kind, typer.Argument(help="What goes wrong; none: the load alone.", show_default=False)],
    every: Annotated[str, typer.Option(help="Between two faults; default: as is usual for the kind.")] = "",
    for_: Annotated[str, typer.Option("--for", help="How long the load lasts.", metavar="TIME")] = "10 min",
    seed: Annotated[int, typer.Option(help="Of arrivals, faults and victims.")] = 0,
    model: Annotated[str, typer.Option(help="An ONNX file, or a model of the zoo.")] = "efficientnet-lite0",
    rate: Annotated[float, typer.Option(min=0.01, max=2.0, help="Offered load, as a share of capacity.")] = KEPT,
    arrivals: Annotated[str, typer.Option(help='"poisson", "constant", or "cv=8"; default: cv=8 for slow.')] = "",
    stages: Annotated[int | None, typer.Option(min=1, help="Number of stages; default: as many as are best.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Workers of the busiest stage.")] = 1,
    spares: Annotated[int, typer.Option(min=0, help="Warm workers of each stage.")] = 0,
    timeout: Annotated[str, typer.Option(help="How long one request may take.")] = "30 s",
    out: Annotated[Path | None, typer.Option(help="Write the whole report here, as JSON.")] = None,
    json: Json = False,
) -> None:
    """Break a cluster on purpose, under load, and say whether it kept its promise; ends with 1 if it did not.

    The cluster is the drill's own, in a folder of the home, and is taken down at the end. Load is measured first, then
    offered open-loop; every answer is held against the uncut model's.
    """
    usual = arrivals or ("cv=8" if kind is Kind.SLOW else "poisson")
    parse_arrivals(usual)
    addition = Addition(source=model)
    messages.print(f"{kind}: {HABITS[kind].says}", style="dim")
    added = prepare(addition, default_cache())
    spec = DeploySpec(
        model=added.record.name,
        stages=stages,
        replicas=replicas,
        spares=spares,
        timeout=parse_timeout(timeout),
    )
    options = DrillOptions(
        kind=kind,
        every=_time("--every", every) if every else HABITS[kind].every,
        duration=_time("--for", for_),
        seed=seed,
        rate=rate,
        arrivals=usual,
        spec=spec,
    )
    home = Home(resolved.home / f"drill-{kind}")
    with speaking(RARELY) as (done, stands):

        def progress(now: Seconds, stage: Scene, faults: list[Injected]) -> None:
            stands(said(now, options.duration, stage, faults))

        report = run(conduct(options, home, _settings(resolved.settings, kind), added, done, progress))
    _print(report, out, json)
    if not report.verdict.held:
        raise typer.Exit(1)


def _settings(settings: Settings, kind: Kind) -> Settings:
    """A standby for the coordinator, where there has to be one."""
    if kind is not Kind.COORDINATOR or settings.cluster.coordinators > 1:
        return settings
    cluster = msgspec.structs.replace(settings.cluster, coordinators=2)
    return msgspec.structs.replace(settings, cluster=cluster)


def _print(report: Report, out: Path | None, json: bool) -> None:
    facts = msgspec.to_builtins(report)
    facts["held"] = report.verdict.held
    if out is not None:
        write_file(out, msgspec.json.encode(facts))
    if json:
        del facts["findings"]["attempts"]
        print_json(facts)
        return
    for part in drill_parts(report):
        results.print(part)
    word = "[green]kept[/]" if report.verdict.held else "[red]broken[/]"
    results.print(f"\n{escape(report.verdict.kind)}: promise {word}")


def _time(flag: str, text: str) -> Seconds:
    seconds = parse_seconds(text)
    if seconds <= 0:
        raise BadQuantity(f"{flag} {text}: give a time above 0, such as '20 s'")
    return seconds
