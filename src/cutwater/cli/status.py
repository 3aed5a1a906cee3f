"""`cutwater status`: nodes, deployments and their stages, gateways; predicted beside measured."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Group
from rich.live import Live

from cutwater.cli.console import print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.errors import FabricError
from cutwater.report.cluster import overview_parts
from cutwater.services.cluster.overview import Overview, look, look_through, processes, reached
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import Seconds

PERIOD: Seconds = 0.5
"""Between two drawings; nodes and gateways beat as often."""


@with_settings("", "fabric")
def status(
    resolved: Resolved,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw it again and again, until interrupted.")] = False,
    json: Json = False,
) -> None:
    """Show what the cluster is doing: nodes, deployments, stages, gateways, and when each was last seen.

    With --watch and --json, each line is one JSON document.
    """
    home = Home(resolved.home)
    if watch:
        run(_watch(home, resolved, json))
        return
    seen = run(look(home, resolved.settings))
    if json:
        print_json(msgspec.to_builtins(seen))
        return
    for part in overview_parts(seen):
        results.print(part)


async def _watch(home: Home, resolved: Resolved, json: bool) -> None:
    """Show it until interrupted; what cannot be reached meanwhile is said, not raised."""
    async with reached(home, resolved.settings.fabric, "status") as fabric:
        with _screen(json) as draw:
            while True:
                try:
                    seen = await look_through(home, fabric)
                except FabricError as error:
                    seen = Overview(home=str(home.folder), processes=processes(home), cluster=None, trouble=str(error))
                draw(seen)
                await asyncio.sleep(PERIOD)


@contextmanager
def _screen(json: bool) -> Iterator[Callable[[Overview], None]]:
    """Something to draw on: the terminal, or lines of JSON."""
    if json:
        yield lambda seen: results.print(msgspec.json.encode(seen).decode(), soft_wrap=True, markup=False)
        return
    with Live(console=results, auto_refresh=False, screen=results.is_terminal) as live:
        yield lambda seen: live.update(Group(*overview_parts(seen)), refresh=True)
