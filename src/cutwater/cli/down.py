"""`cutwater down`: ends everything `cutwater up` has started."""

from cutwater.cli.console import messages, print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.services.cluster.cluster import LocalCluster
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved


@with_settings()
def down(resolved: Resolved, json: Json = False) -> None:
    """Take the cluster of this machine down: requests under way are finished, then every process ends, in order.

    What does not end within the setting cluster.stop_limit is killed. Models and deployments stay known, and come up
    again with the next `cutwater up`; `cutwater undeploy` ends one for good.
    """
    home = Home(resolved.home)
    cluster = LocalCluster(home, lambda what: messages.print(what, style="dim"))
    taken = run(cluster.take_down(resolved.settings))
    if json:
        print_json({"home": str(home.folder), "stopped": taken.stopped, "killed": taken.killed})
        return
    results.print(f"stopped: {', '.join(taken.stopped)}" if taken.stopped else f"nothing runs in {home.folder}")
    if taken.killed:
        results.print(f"of these did not end by themselves and were killed: {', '.join(taken.killed)}")
