"""ClusterCollector: what Prometheus is told of the cluster and of this gateway's queues, looked up at each scrape.

Every gateway tells the same of the cluster, so queries over several gateways take the largest, not the sum. What it
says of requests is its own.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, Note
from cutwater.engine.facts.nodes import Phase
from cutwater.services.asking import (
    ClusterStatus,
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    NodeStatus,
    WorkerStatus,
)
from cutwater.services.front.picture import Picture

_NODE, _MODEL = ("node",), ("model",)
_WORKER = ("model", "stage", "node", "worker")
_HOP = ("model", "chain", "source", "target", "codec")
_LINK = ("source", "target")

_GAUGES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "cutwater_picture_age_seconds": ((), "Since the coordinator answered last; what is said of the cluster is so old."),
    "cutwater_coordinator_term": ((), "Another one each time a coordinator takes over; 0: none has answered yet."),
    "cutwater_coordinator_info": (("leader",), "1 for the coordinator that leads."),
    "cutwater_node_info": (("node", "host", "machine", "version"), "1 for each node that is known."),
    "cutwater_node_alive": (_NODE, "1 if the node beats."),
    "cutwater_node_draining": (_NODE, "1 if nothing shall run there."),
    "cutwater_node_cores": (_NODE, "Cores its workers may use."),
    "cutwater_node_cpu_ratio": (_NODE, "Share of its cores in use."),
    "cutwater_node_memory_bytes": (_NODE, "What its workers use."),
    "cutwater_node_memory_limit_bytes": (_NODE, "What its workers may use together."),
    "cutwater_node_temperature_celsius": (_NODE, "Where it is known."),
    "cutwater_node_workers": (("node", "phase"), "Workers by where they are in their life."),
    "cutwater_gateway_alive": (("gateway",), "1 if the gateway beats."),
    "cutwater_link_bytes_per_second": (_LINK, "Measured bandwidth from one node to another."),
    "cutwater_link_latency_seconds": (_LINK, "Measured, one way."),
    "cutwater_worker_queued": (_WORKER, "Requests that wait there."),
    "cutwater_worker_busy_ratio": (_WORKER, "Share of its time spent computing, of late."),
    "cutwater_worker_memory_bytes": (_WORKER, "Resident."),
    "cutwater_worker_predicted_seconds": (_WORKER, "Computing one request, as planned."),
    "cutwater_worker_measured_seconds": (_WORKER, "Median of computing one request, of late."),
    "cutwater_hop_predicted_bytes": (_HOP, "Bytes of one request on a hop, as planned for the live epoch."),
    "cutwater_hop_predicted_seconds": (_HOP, "Propagation and transfer of one request, as planned."),
    "cutwater_deployment_live": (_MODEL, "1 if an epoch of it is live."),
    "cutwater_deployment_epoch": (_MODEL, "The live epoch."),
    "cutwater_deployment_parked": (_MODEL, "1 if it was taken down until somebody asks for it."),
    "cutwater_deployment_chains": (_MODEL, "Chains that serve."),
    "cutwater_deployment_chains_wanted": (_MODEL, "Chains there should be: as asked for, or as the demand needs."),
    "cutwater_deployment_problem": (_MODEL, "1 if its last plan or roll-out came to nothing."),
    "cutwater_deployment_predicted_seconds": (_MODEL, "Latency of one request alone, as planned."),
    "cutwater_deployment_measured_seconds": (("model", "percentile"), "Latency of late, at the slowest gateway."),
    "cutwater_deployment_predicted_requests_per_second": (_MODEL, "Throughput, as planned."),
    "cutwater_deployment_measured_requests_per_second": (_MODEL, "Answers of late, all gateways together."),
    "cutwater_requests_queued": (_MODEL, "Requests that wait at this gateway."),
    "cutwater_requests_flying": (_MODEL, "Requests under way from this gateway."),
    "cutwater_requests_window": (_MODEL, "Most requests that may be under way at once."),
}
_COUNTERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "cutwater_events": (("kind",), "What the coordinator said since this gateway started, such as lost, replanned."),
    "cutwater_node_refused": (("node", "reason"), "What the node itself refused since it started, such as a blob."),
    "cutwater_worker_restarts": (_WORKER, "How often it was started again after it had ended by itself."),
    "cutwater_worker_served": (_WORKER, "Requests computed since it started."),
    "cutwater_worker_failed": (_WORKER, "Requests that failed there since it started."),
    "cutwater_requests_accepted": (_MODEL, "Requests taken in by this gateway."),
    "cutwater_requests_refused": (_MODEL, "Requests it did not take in."),
    "cutwater_requests_retried": (_MODEL, "Attempts that ended without an answer and were followed by another."),
    "cutwater_requests_quarantined": (_MODEL, "Requests that took their workers down each time they were tried."),
    "cutwater_answers_late": (_MODEL, "Answers that came when nobody waited for them any more; dropped."),
    "cutwater_clients_turned_away": (("reason",), "Links of clients that were not let in, or sent away."),
}
KINDS = (
    "joined", "lost", "drained", "slow", "well", "failing", "rolling-out", "rolled-out", "rolled-back", "replanned",
    "postponed", "unproven", "unplanned", "parked", "unparked", "refused", "scaled-up", "scaled-down", "shared",
    "short", "mended",
)  # fmt: skip
"""Of events that are said to have happened 0 times, so that the first one is seen as one more."""
MOST_KINDS = 64


class ClusterCollector(Collector):
    """A collector for the gateway's registry."""

    def __init__(
        self, picture: Picture, beat: Callable[[], GatewayBeat], windows: Callable[[], Mapping[str, int]]
    ) -> None:
        """What to ask when somebody scrapes.

        Args:
            picture: the cluster.
            beat: how this gateway stands.
            windows: model -> most requests under way at once.
        """
        self._picture, self._beat, self._windows = picture, beat, windows
        self._events = dict.fromkeys(KINDS, 0)

    def note(self, note: Note) -> None:
        """Something has happened in the cluster; each note comes once."""
        if note.kind in self._events or len(self._events) < MOST_KINDS:
            self._events[note.kind] = self._events.get(note.kind, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """See `Collector.collect`."""
        sheet = _Sheet()
        for kind, times in self._events.items():
            sheet.add("cutwater_events", (kind,), times)
        _tell_beat(sheet, self._beat(), self._windows())
        status = self._picture.status
        sheet.add("cutwater_coordinator_term", (), status.term if status is not None else 0)
        if status is not None:
            sheet.add("cutwater_picture_age_seconds", (), self._picture.age)
            _tell_cluster(sheet, status)
        return sheet.families.values()


class _Sheet:
    """All families, each there even if it has nothing to say."""

    def __init__(self) -> None:
        self.families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, (labels, text) in _GAUGES.items():
            self.families[name] = GaugeMetricFamily(name, text, labels=labels)
        for name, (labels, text) in _COUNTERS.items():
            self.families[name] = CounterMetricFamily(name, text, labels=labels)

    def add(self, name: str, labels: tuple[str, ...], value: float | None) -> None:
        """One value; None: not known."""
        if value is not None:
            self.families[name].add_metric(labels, float(value))


def _tell_beat(sheet: _Sheet, beat: GatewayBeat, windows: Mapping[str, int]) -> None:
    for reason, times in beat.turned_away.items():
        sheet.add("cutwater_clients_turned_away", (reason,), times)
    for tally in beat.models:
        _tell_tally(sheet, tally, windows.get(tally.model))


def _tell_tally(sheet: _Sheet, tally: ModelTally, window: int | None) -> None:
    model = (tally.model,)
    sheet.add("cutwater_requests_queued", model, tally.queued)
    sheet.add("cutwater_requests_flying", model, sum(tally.flying.values()))
    sheet.add("cutwater_requests_window", model, window)
    sheet.add("cutwater_requests_accepted", model, tally.accepted)
    sheet.add("cutwater_requests_refused", model, tally.refused)
    sheet.add("cutwater_requests_retried", model, tally.retried)
    sheet.add("cutwater_requests_quarantined", model, tally.quarantined)
    sheet.add("cutwater_answers_late", model, tally.late)


def _tell_cluster(sheet: _Sheet, status: ClusterStatus) -> None:
    sheet.add("cutwater_coordinator_info", (status.leader,), 1)
    for node in status.nodes:
        _tell_node(sheet, node)
    for gateway in status.gateways:
        _tell_gateway(sheet, gateway)
    for link in status.links:
        ends = (link.source, link.target)
        sheet.add("cutwater_link_bytes_per_second", ends, link.bandwidth)
        sheet.add("cutwater_link_latency_seconds", ends, link.latency)
    for deployment in status.deployments:
        _tell_deployment(sheet, deployment)


def _tell_node(sheet: _Sheet, node: NodeStatus) -> None:
    said, name = node.announcement, (str(node.announcement.node),)
    sheet.add("cutwater_node_info", (said.node, said.host, said.hardware.machine, said.version), 1)
    sheet.add("cutwater_node_alive", name, node.alive)
    sheet.add("cutwater_node_draining", name, node.draining)
    sheet.add("cutwater_node_cores", name, said.hardware.cores)
    sheet.add("cutwater_node_memory_limit_bytes", name, said.hardware.memory)
    beat = node.beat
    if beat is None or not node.alive:  # what was said by one who is gone is not the case any more
        return
    sheet.add("cutwater_node_cpu_ratio", name, beat.cpu)
    sheet.add("cutwater_node_memory_bytes", name, beat.memory)
    sheet.add("cutwater_node_temperature_celsius", name, beat.temperature)
    phases = [worker.phase for worker in beat.workers]
    for phase in Phase:
        sheet.add("cutwater_node_workers", (*name, phase.value), phases.count(phase))
    for reason, times in beat.refused.items():
        sheet.add("cutwater_node_refused", (*name, reason), times)


def _tell_gateway(sheet: _Sheet, gateway: GatewayStatus) -> None:
    sheet.add("cutwater_gateway_alive", (gateway.beat.gateway,), gateway.alive)


def _tell_deployment(sheet: _Sheet, deployment: DeploymentStatus) -> None:
    model = (deployment.spec.model,)
    live = next((epoch for epoch in reversed(deployment.epochs) if epoch.phase is EpochPhase.LIVE), None)
    sheet.add("cutwater_deployment_live", model, live is not None)
    sheet.add("cutwater_deployment_parked", model, deployment.parked)
    sheet.add("cutwater_deployment_chains", model, deployment.chains)
    sheet.add("cutwater_deployment_chains_wanted", model, deployment.wanted)
    sheet.add("cutwater_deployment_problem", model, deployment.problem != "")
    sheet.add("cutwater_deployment_measured_requests_per_second", model, deployment.rate)
    for percentile, seconds in (("50", deployment.p50), ("99", deployment.p99)):
        sheet.add("cutwater_deployment_measured_seconds", (*model, percentile), seconds)
    if live is not None:
        sheet.add("cutwater_deployment_epoch", model, live.epoch)
        sheet.add("cutwater_deployment_predicted_seconds", model, live.latency)
        sheet.add("cutwater_deployment_predicted_requests_per_second", model, live.throughput)
        _tell_hops(sheet, deployment.spec.model, live)
    for epoch in deployment.epochs:
        for worker in epoch.workers:
            _tell_worker(sheet, deployment.spec.model, worker)


def _tell_hops(sheet: _Sheet, model: str, live: EpochStatus) -> None:
    """By the same names as those that were measured have: the last one is the answer's whole way back."""
    for chain, score in enumerate(live.scores):
        ends = ["gateway", *(f"stage-{k + 1}" for k in range(len(score.stages))), "gateway"]
        for k, ((source, target), hop) in enumerate(zip(pairwise(ends), score.hops, strict=False)):
            nbytes, seconds = hop.nbytes, hop.latency
            if k == len(score.stages):
                nbytes += score.hops[0].back_bytes
                seconds += sum(each.back_latency for each in score.hops)
            labels = (model, str(chain), source, target, hop.codec)
            sheet.add("cutwater_hop_predicted_bytes", labels, nbytes)
            sheet.add("cutwater_hop_predicted_seconds", labels, seconds)


def _tell_worker(sheet: _Sheet, model: str, worker: WorkerStatus) -> None:
    labels = (model, f"stage-{worker.stage + 1}", worker.node, worker.worker)
    sheet.add("cutwater_worker_predicted_seconds", labels, worker.predicted)
    state = worker.state
    if state is None:
        return
    sheet.add("cutwater_worker_queued", labels, state.queued)
    sheet.add("cutwater_worker_busy_ratio", labels, state.busy)
    sheet.add("cutwater_worker_memory_bytes", labels, state.memory)
    sheet.add("cutwater_worker_measured_seconds", labels, state.seconds or None)
    sheet.add("cutwater_worker_restarts", labels, state.restarts)
    sheet.add("cutwater_worker_served", labels, state.served)
    sheet.add("cutwater_worker_failed", labels, state.failed)
