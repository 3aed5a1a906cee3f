"""view: the coordinator's picture as the page shows it, one entry for each thing that can change by itself.

An entry's key says what it is ("node/pi-a"), its value is plain data. Nothing here keeps anything.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Phase
from cutwater.plan.plan import Score
from cutwater.services.asking import (
    ClusterStatus,
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    NodeStatus,
    WorkerStatus,
)
from cutwater.services.dashboard.ledger import Spent
from cutwater.units import NodeId, Seconds, format_seconds

Entries = dict[str, Any]

SILENT: Seconds = 1.6
"""A node that was not heard for so long is shown as silent: one that lives beats at least once a second."""
BUSY = 0.6
"""A stage that computes for more than this share of the time is what holds a deployment back."""
_DIGITS = 3


def entries(status: ClusterStatus, spent: Mapping[str, Spent | None], gone: Mapping[NodeId, str]) -> Entries:
    """Everything there is to see.

    Args:
        status: the coordinator's picture.
        spent: model -> where the time of its requests went, as measured here.
        gone: node -> incarnation that was said to be lost since the picture was made.
    """
    found: Entries = {"cluster": {"leader": status.leader, "term": status.term, "since": status.since}}
    for node in status.nodes:
        lost = gone.get(node.announcement.node) == node.announcement.incarnation
        found[f"node/{node.announcement.node}"] = _node(node, lost)
    for gateway in status.gateways:
        found[f"gateway/{gateway.beat.gateway}"] = _gateway(gateway)
    for link in status.links:
        found[f"link/{link.source}/{link.target}"] = {
            "source": link.source,
            "target": link.target,
            "bandwidth": rounded(link.bandwidth),
            "latency": rounded(link.latency),
        }
    for record in status.models:
        found[f"model/{record.name}"] = _model(record)
    for deployment in status.deployments:
        model = deployment.spec.model
        found[f"deployment/{model}"] = _deployment(deployment, spent.get(model))
    return found


def rounded(value: float | None) -> float | None:
    """To as many digits as anybody reads."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _node(node: NodeStatus, lost: bool) -> Entries:
    told, beat = node.announcement, node.beat
    silent = node.age is not None and node.age > SILENT
    if not node.alive or (lost and silent):
        state = "lost"
    elif silent:
        state = "silent"
    else:
        state = "draining" if node.draining else "leaving" if beat and beat.leaving else "alive"
    return {
        "name": told.node,
        "state": state,
        "host": told.host,
        "machine": told.hardware.machine,
        "cores": told.hardware.cores,
        "speed": rounded(told.hardware.speed),
        "memory": told.hardware.memory,
        "version": told.version,
        "used": beat.memory if beat else 0,
        "cpu": round(beat.cpu, 2) if beat else 0.0,
        "temperature": beat.temperature if beat else None,
        "workers": [
            {"name": each.worker, "phase": each.phase, "busy": round(each.busy, 2)}
            for each in (beat.workers if beat else ())
        ],
    }


def _gateway(gateway: GatewayStatus) -> Entries:
    beat = gateway.beat
    return {
        "name": beat.gateway,
        "node": beat.node,
        "host": beat.host,
        "state": "alive" if gateway.alive else "lost",
        "models": {
            tally.model: {
                "rate": rounded(tally.rate),
                "flying": sum(tally.flying.values()),
                "queued": tally.queued,
                "answered": tally.answered,
                "degraded": tally.degraded,
                "failed": tally.failed,
                "refused": tally.refused,
                "retried": tally.retried,
            }
            for tally in beat.models
        },
    }


def _model(record: ModelRecord) -> Entries:
    return {
        "name": record.name,
        "task": record.task,
        "nbytes": record.nbytes,
        "hash": record.hash,
        "inputs": [_tensor(each.name, each.dtype, each.shape) for each in record.inputs],
        "outputs": [_tensor(each.name, each.dtype, each.shape) for each in record.outputs],
    }


def _tensor(name: str, dtype: str, shape: Iterable[int]) -> str:
    return f"{name}: {dtype} {'×'.join(map(str, shape)) or 'scalar'}"


def _deployment(deployment: DeploymentStatus, spent: Spent | None) -> Entries:
    spec, live = deployment.spec, shown_epoch(deployment)
    return {
        "model": spec.model,
        "objective": spec.objective,
        "stages": spec.stages,
        "cuts": spec.cuts,
        "places": spec.places,
        "state": _state(deployment, live),
        "problem": deployment.problem,
        "rate": rounded(deployment.rate),
        "p50": rounded(deployment.p50),
        "p99": rounded(deployment.p99),
        "bottleneck": bottleneck(live) if live else "",
        "epochs": [_epoch(each, spent if each is live else None) for each in deployment.epochs],
    }


def shown_epoch(deployment: DeploymentStatus) -> EpochStatus | None:
    """The epoch that answers, or else the newest one."""
    live = tuple(epoch for epoch in deployment.epochs if epoch.phase is EpochPhase.LIVE)
    known = live or deployment.epochs
    return known[-1] if known else None


def _state(deployment: DeploymentStatus, live: EpochStatus | None) -> str:
    if deployment.removed:
        return "going"
    if deployment.parked:
        return "parked"
    if live is None:
        return "planning"
    if live.phase is not EpochPhase.LIVE:
        return "starting"
    able = {(w.chain, w.stage) for w in live.workers if w.state is not None and w.state.phase is Phase.READY}
    if {(w.chain, w.stage) for w in live.workers} - able:
        return "degraded"
    coming = any(epoch.phase in (EpochPhase.STARTING, EpochPhase.PROBING) for epoch in deployment.epochs)
    return "rolling out" if coming else "live"


def _epoch(epoch: EpochStatus, spent: Spent | None) -> Entries:
    chains = sorted({worker.chain for worker in epoch.workers})
    return {
        "epoch": epoch.epoch,
        "phase": epoch.phase,
        "why": epoch.why,
        "throughput": rounded(epoch.throughput),
        "latency": rounded(epoch.latency),
        "chains": [
            {
                "stages": _stages(epoch, chain),
                "hops": _hops(epoch.scores[chain] if chain < len(epoch.scores) else None),
            }
            for chain in chains
        ],
        "wait": rounded(spent.wait) if spent else 0.0,
        "phases": [[rounded(value) for value in each] for each in spent.stages] if spent else [],
    }


def _stages(epoch: EpochStatus, chain: int) -> list[Entries]:
    workers = [worker for worker in epoch.workers if worker.chain == chain]
    stages = sorted({worker.stage for worker in workers})
    return [_stage(stage, [worker for worker in workers if worker.stage == stage]) for stage in stages]


def _stage(stage: int, workers: list[WorkerStatus]) -> Entries:
    return {
        "stage": stage,
        "begin": workers[0].begin,
        "end": workers[0].end,
        "workers": [_worker(worker) for worker in workers],
    }


def _worker(worker: WorkerStatus) -> Entries:
    state = worker.state
    found: Entries = {
        "name": worker.worker,
        "node": worker.node,
        "spare": worker.spare,
        "predicted": rounded(worker.predicted),
        "phase": state.phase if state else "gone",
    }
    if state is None:
        return found
    return found | {
        "measured": rounded(state.seconds) or None,
        "busy": round(state.busy, 2),
        "queued": state.queued,
        "served": state.served,
        "failed": state.failed,
        "restarts": state.restarts,
        "memory": state.memory,
        "fault": state.fault.message if state.fault else "",
    }


def _hops(score: Score | None) -> list[Entries]:
    hops = score.hops if score else ()
    return [
        {
            "source": hop.source,
            "target": hop.target,
            "codec": hop.codec,
            "nbytes": round(hop.nbytes or hop.back_bytes),
            "predicted": rounded(hop.latency),
        }
        for hop in hops
    ]


def bottleneck(epoch: EpochStatus) -> str:
    """What holds a deployment back, in words: a stage that is seen to be busy, or what the plan says it would be."""
    busiest = max(epoch.workers, key=lambda each: each.state.busy if each.state else 0.0, default=None)
    if busiest is not None and busiest.state is not None and busiest.state.busy > BUSY:
        return (
            f"Stage {busiest.stage + 1} on {busiest.node} holds it back: it computes {busiest.state.busy:.0%} of the "
            f"time, {format_seconds(busiest.state.seconds)} for each request"
        )
    if not epoch.scores:
        return ""
    score = min(epoch.scores, key=lambda each: each.throughput)
    what = resource_words(score.bottleneck)
    return f"Under full load {what} would hold it back, at {epoch.throughput:.3g} requests/s"


def resource_words(resource: str) -> str:
    """``"link a -> b"`` -> ``"the link from a to b"``."""
    kind, _, name = resource.partition(" ")
    match kind:
        case "node":
            return f"the work on {name}"
        case "link":
            source, _, target = name.partition(" -> ")
            return f"the link from {source} to {target}"
        case "host":
            nodes = name.removeprefix("of ")
            return f"the cores that {nodes} share" if "," in nodes else f"the cores of {nodes}"
        case _:
            return f"the medium {name}"
