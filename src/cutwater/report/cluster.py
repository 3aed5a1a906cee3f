"""Tables of a running cluster: processes, nodes, deployments with their stages, gateways."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.nodes import Phase
from cutwater.report.table import table
from cutwater.services.asking import (
    ClusterStatus,
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    NodeStatus,
    WorkerStatus,
)
from cutwater.services.cluster.overview import Overview
from cutwater.units import Seconds, format_bytes, format_seconds

_COLOURS = {
    EpochPhase.LIVE: "green",
    EpochPhase.STARTING: "yellow",
    EpochPhase.PROBING: "yellow",
    EpochPhase.DRAINING: "dim",
    Phase.READY: "green",
    Phase.BACKING_OFF: "red",
    Phase.DRAINING: "dim",
    "alive": "green",
    "lost": "red",
    "draining": "yellow",
}


def overview_parts(seen: Overview) -> Iterator[RenderableType]:
    """What `cutwater status` shows, part by part."""
    yield _headline(seen)
    if seen.trouble:
        yield Text(seen.trouble, style="yellow")
    ended = [name for name, process in seen.processes.items() if not process.alive]
    if ended:
        yield Text(f"ended: {', '.join(ended)}; `cutwater up` starts them again", style="yellow")
    if seen.cluster is None:
        return
    yield ""
    yield nodes_table(seen.cluster.nodes)
    yield ""
    if seen.cluster.deployments:
        yield deployments_table(seen.cluster.deployments)
        yield from _sizes(seen.cluster.deployments)
        yield from _problems(seen.cluster.deployments)
        for deployment in seen.cluster.deployments:
            for epoch in deployment.epochs:
                yield ""
                yield stages_table(deployment, epoch)
    else:
        yield Text("nothing is deployed; `cutwater deploy MODEL` brings a model up", style="dim")
    yield ""
    yield gateways_table(seen.cluster)
    if seen.refused:
        yield ""
        yield Text(
            f"refused: {'; '.join(_refused(who, counts) for who, counts in seen.refused.items())}", style="yellow"
        )


def _refused(who: str, counts: dict[str, int]) -> str:
    return f"{who} {', '.join(f'{count} for {reason}' for reason, count in sorted(counts.items()))}"


def _headline(seen: Overview) -> Text:
    cluster = seen.cluster
    if cluster is None:
        return Text(f"cluster in {seen.home}")
    if not cluster.leader:
        return Text(f"cluster in {seen.home}, without a coordinator")
    return Text(f"cluster in {seen.home}, led by {cluster.leader} (term {cluster.term}) since {_clock(cluster.since)}")


def _clock(stamp: str) -> str:
    """``2026-11-22T07:19:41.123+00:00`` -> ``2026-11-22 07:19:41 UTC``."""
    return f"{stamp[:19].replace('T', ' ')} UTC" if stamp else "-"


def nodes_table(nodes: tuple[NodeStatus, ...]) -> Table:
    """One row per node, alive or lost."""
    made = table("Nodes", "node", "state", "seen", "speed", "cores", "cpu", "memory", "of", "temperature", "workers")
    for node in nodes:
        hardware, beat = node.announcement.hardware, node.beat
        state = "lost" if not node.alive else "draining" if node.draining else "alive"
        ready = [worker for worker in beat.workers if worker.phase == Phase.READY] if beat else []
        made.add_row(
            escape(node.announcement.node),
            coloured(state),
            _ago(node.age),
            f"{hardware.speed:.3g}",
            str(hardware.cores),
            f"{beat.cpu:.0%}" if beat else "-",
            format_bytes(beat.memory) if beat else "-",
            format_bytes(hardware.memory),
            f"{beat.temperature:.0f} °C" if beat and beat.temperature is not None else "-",
            f"{len(ready)} of {len(beat.workers)}" if beat else "-",
        )
    return made


def deployments_table(deployments: tuple[DeploymentStatus, ...]) -> Table:
    """One row per deployment: what was wished, predicted and measured."""
    headers = ("model", "for", "epoch", "state", "predicted", "rate", "latency predicted", "p50", "p99")
    made = table("Deployments", *headers)
    for each in deployments:
        shown = _live(each)
        made.add_row(
            escape(each.spec.model),
            escape(each.spec.objective),
            str(shown.epoch) if shown else "-",
            coloured("removed" if each.removed else "parked" if each.parked else shown.phase if shown else "waiting"),
            f"{shown.throughput:.4g}/s" if shown else "-",
            f"{each.rate:.4g}/s",
            format_seconds(shown.latency) if shown else "-",
            _measured(each.p50),
            _measured(each.p99),
        )
    return made


def _sizes(deployments: tuple[DeploymentStatus, ...]) -> Iterator[Text]:
    """How many chains those have that follow their demand, and why."""
    for each in deployments:
        scaling = each.spec.scaling
        if scaling is not None:
            bounds = f"{scaling.least} to {scaling.most}"
            why = f": {each.scaled}" if each.scaled else ""
            yield Text(
                f"{each.spec.model}: {each.chains} of {each.wanted} chains that are wanted, {bounds} allowed{why}"
            )


def _problems(deployments: tuple[DeploymentStatus, ...]) -> Iterator[Text]:
    """What went wrong last, a line for each deployment that is in trouble."""
    for each in deployments:
        if each.problem:
            yield Text(f"{each.spec.model}: {each.problem}", style="red")


def _live(deployment: DeploymentStatus) -> EpochStatus | None:
    """The epoch that answers, or else the newest one."""
    live = tuple(epoch for epoch in deployment.epochs if epoch.phase == EpochPhase.LIVE)
    shown = live or deployment.epochs
    return shown[-1] if shown else None


def stages_table(deployment: DeploymentStatus, epoch: EpochStatus) -> Table:
    """One row per worker of an epoch: predicted beside measured."""
    title = f"{deployment.spec.model}, epoch {epoch.epoch} ({epoch.phase}): {epoch.why}"
    headers = ("stage", "node", "state", "from", "to", "predicted", "measured", "busy", "queue", "served", "restarts")
    made = table(escape(title), *headers)
    several = len({worker.chain for worker in epoch.workers}) > 1
    for worker in sorted(epoch.workers, key=lambda each: (each.chain, each.stage, each.spare, each.worker)):
        made.add_row(*_worker_row(worker, several))
    return made


def _worker_row(worker: WorkerStatus, several: bool) -> tuple[str, ...]:
    state = worker.state
    name = f"{worker.chain + 1}.{worker.stage + 1}" if several else str(worker.stage + 1)
    measured = (
        (_measured(state.seconds), f"{state.busy:.0%}", str(state.queued), str(state.served), str(state.restarts))
        if state
        else ("-",) * 5
    )
    return (
        f"{name} spare" if worker.spare else name,
        escape(worker.node),
        coloured(state.phase if state else "unknown"),
        escape(worker.begin),
        escape(worker.end),
        format_seconds(worker.predicted),
        *measured,
    )


def gateways_table(cluster: ClusterStatus) -> Table:
    """One row per gateway and model."""
    headers = ("gateway", "state", "seen", "model", "rate", "p50", "p99", "under way", "queued", "answered")
    made = table("Gateways", *headers, "failed", "refused", "retried", "degraded")
    for gateway in cluster.gateways:
        _add_gateway(made, gateway)
    return made


def _add_gateway(made: Table, gateway: GatewayStatus) -> None:
    first = (escape(gateway.beat.gateway), coloured("alive" if gateway.alive else "lost"), _ago(gateway.age))
    if not gateway.beat.models:
        made.add_row(*first, "-")
    for tally in gateway.beat.models:
        counts = (tally.queued, tally.answered, tally.failed, tally.refused, tally.retried, tally.degraded)
        made.add_row(
            *first,
            escape(tally.model),
            f"{tally.rate:.4g}/s",
            _measured(tally.p50),
            _measured(tally.p99),
            str(sum(tally.flying.values())),
            *map(str, counts),
        )
        first = ("", "", "")


def coloured(state: str) -> str:
    """The word, in the colour that says whether it is good."""
    colour = _COLOURS.get(state, "")
    return f"[{colour}]{state}[/]" if colour else state


def _ago(age: Seconds | None) -> str:
    return "never" if age is None else "now" if age < 1.0 else f"{format_seconds(age)} ago"


def _measured(seconds: Seconds) -> str:
    return format_seconds(seconds) if seconds > 0 else "-"
