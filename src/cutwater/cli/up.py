"""`cutwater up`: a whole cluster on this machine, in the background, with one command."""

from collections.abc import Mapping

from cutwater.cli.console import messages, print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.report.table import filled
from cutwater.services.cluster.cluster import Brought, LocalCluster
from cutwater.services.home import Home, Wishes
from cutwater.settings.resolve import Resolved

NEXT = """
next:  cutwater model add FILE       make a model known
       cutwater deploy MODEL         bring it up over the nodes
       cutwater status --watch       see what runs
       cutwater down                 end everything"""


@with_settings("cluster", "fabric", "coordinator", "node", "gateway", "observe")
def up(resolved: Resolved, wishes: Wishes, json: Json = False) -> None:
    """Bring up a cluster on this machine in the background: fabric, coordinators, nodes, gateway.

    What runs is left alone and what is missing is started, so it can be repeated; with more --nodes, more are added.
    A cluster that runs remembers the flags it was brought up with.
    """
    home = Home(resolved.home)
    cluster = LocalCluster(home, lambda what: messages.print(what, style="dim"))
    brought = run(cluster.bring_up(resolved.settings, wishes))
    if json:
        print_json(_facts(home, brought))
        return
    rows = [
        (name, record.pid, "started" if name in brought.started else "ran already", _address(record.facts))
        for name, record in home.alive().items()
    ]
    results.print(filled(f"Cluster in {home.folder}", ("process", "pid", "", "address"), rows))
    results.print(NEXT, markup=False)


def _address(facts: Mapping[str, str]) -> str:
    """Where others find it: a browser, the clients, or the other processes."""
    return ", ".join(facts[kind] for kind in ("http", "grpc", "url") if kind in facts)


def _facts(home: Home, brought: Brought) -> dict[str, object]:
    processes = {
        name: {"pid": record.pid, "since": record.since, "started": name in brought.started, **record.facts}
        for name, record in home.alive().items()
    }
    return {"home": str(home.folder), "processes": processes}
