"""`cutwater node`: the machines of a cluster."""

from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import messages, print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.membership import invite, join, revoke
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.errors import NotFound, did_you_mean
from cutwater.report.cluster import nodes_table
from cutwater.services.asking import ClusterStatus, Done, DrainNode, GetStatus, ask_coordinator
from cutwater.services.cluster.overview import look, reached
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import NodeId

app = typer.Typer(help="The machines of a cluster.", no_args_is_help=True)
app.command()(invite)
app.command()(join)
app.command()(revoke)

Name = Annotated[str, typer.Argument(help="The node's name.", show_default=False)]


@app.command("list")
@with_settings("", "fabric")
def list_nodes(resolved: Resolved, json: Json = False) -> None:
    """List the nodes: what they are, whether they live, what they do."""
    seen = run(look(Home(resolved.home), resolved.settings))
    nodes = seen.cluster.nodes if seen.cluster is not None else ()
    if json:
        print_json(msgspec.to_builtins(nodes))
        return
    if seen.trouble:
        messages.print(seen.trouble, style="yellow")
    results.print(nodes_table(nodes))


@app.command()
@with_settings("", "fabric")
def drain(resolved: Resolved, name: Name, json: Json = False) -> None:
    """Have a node run nothing any more: its stages come up elsewhere first, and what is under way is finished."""
    run(_drain(resolved, NodeId(name), on=True))
    _tell(name, "draining", json)


@app.command()
@with_settings("", "fabric")
def undrain(resolved: Resolved, name: Name, json: Json = False) -> None:
    """Let a node take part again."""
    run(_drain(resolved, NodeId(name), on=False))
    _tell(name, "usable", json)


async def _drain(resolved: Resolved, node: NodeId, on: bool) -> None:
    async with reached(Home(resolved.home), resolved.settings.fabric, "drain") as fabric:
        status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
        known = [each.announcement.node for each in status.nodes]
        if node not in known:
            raise NotFound(f"there is no node {node!r}{did_you_mean(node, known)}")
        await ask_coordinator(fabric, DrainNode(node=node, on=on), Done)


def _tell(name: str, state: str, json: bool) -> None:
    if json:
        print_json({"node": name, "state": state})
    else:
        results.print(f"{name} is {state}")
