"""RequestMetrics: what Prometheus is told of requests, as a fold over what became of each.

It is told in the event loop of every request, so it costs a few microseconds: plain sums in slots, and text only when
somebody scrapes. Observing and scraping happen in one thread.
"""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from cutwater.api.finished import Finished
from cutwater.observe.course import GATEWAY, hops
from cutwater.observe.sums import SIZES, Histogram, Summary
from cutwater.wire.message import Mark

ANSWERED = "answered"
"""The outcome of a request that was answered; the others are kinds of errors."""
MOST_STAGES = 256
"""Per model; names come from workers, and nobody shall fill memory with them."""


class _Stage:
    """One stage of a model."""

    __slots__ = ("batch", "compute", "decode", "encode", "hold", "queue")

    def __init__(self) -> None:
        self.queue = Histogram()
        self.compute = Histogram()
        self.decode = Summary()
        self.encode = Summary()
        self.hold = Summary()
        self.batch = Histogram(SIZES)

    def observe(self, mark: Mark) -> None:
        """One more request."""
        decode, encode, finished = mark.decode, mark.encode, mark.finished
        self.queue.observe(mark.started - mark.received - decode)
        self.decode.observe(decode)
        self.compute.observe(finished - mark.started)
        self.encode.observe(encode)
        self.hold.observe(mark.sent - finished - encode)
        self.batch.observe(mark.batch)


class _Hop:
    """One hop of a model."""

    __slots__ = ("nbytes", "plain", "seconds")

    def __init__(self) -> None:
        self.seconds = Histogram()
        self.nbytes = 0
        self.plain: tuple[int, int] = (0, 0)
        """Bytes before the codec and after it, of those requests of which both are known."""


class _Model:
    """One model."""

    __slots__ = (
        "answer_bytes", "degraded", "ends", "hops", "latency", "queue", "request_bytes", "stages", "transfer",
        "unclear",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ends: dict[tuple[str, str], int] = {}
        """Door and outcome -> requests."""
        self.latency = Histogram()
        self.queue = Histogram()
        self.transfer = Summary()
        self.unclear = self.degraded = self.request_bytes = self.answer_bytes = 0
        self.stages: dict[str, _Stage] = {}
        self.hops: dict[tuple[str, str], _Hop] = {}

    def end(self, finished: Finished) -> None:
        """One more request."""
        ending = finished.door, finished.fault or ANSWERED
        self.ends[ending] = self.ends.get(ending, 0) + 1
        self.request_bytes += finished.came
        if finished.fault:
            return
        self.answer_bytes += finished.went
        self.degraded += finished.degraded
        self.latency.observe(finished.ended - finished.began)
        if finished.trail:
            self._follow(finished)

    def _follow(self, finished: Finished) -> None:
        """Through its stages and hops."""
        trail = finished.trail
        seconds, total, wait, agreed = hops(finished)
        if finished.launched:
            self.queue.observe(wait)
        self.transfer.observe(total)
        self.unclear += not agreed
        stages = self.stages
        source, number = GATEWAY, 0
        for mark in trail:
            name = mark.stage
            stage = stages.get(name)
            if stage is None:
                stage = self._new_stage(name)
            stage.observe(mark)
            hop = self._hop(source, name)
            hop.nbytes += mark.received_bytes
            if agreed:
                hop.seconds.observe(seconds[number])
            source = name
            number += 1
        hop = self._hop(source, GATEWAY)
        if agreed:
            hop.seconds.observe(seconds[number])
        sent = trail[-1].sent_bytes
        hop.nbytes += sent
        hop.plain = hop.plain[0] + finished.went, hop.plain[1] + sent
        if finished.fed:
            came, hop = trail[0].received_bytes, self._hop(GATEWAY, trail[0].stage)
            hop.plain = hop.plain[0] + finished.fed, hop.plain[1] + came

    def _new_stage(self, name: str) -> _Stage:
        stage = _Stage()
        if len(self.stages) < MOST_STAGES:
            self.stages[name] = stage
        return stage

    def _hop(self, source: str, target: str) -> _Hop:
        hop = self.hops.get((source, target))
        if hop is None:
            hop = _Hop()
            if len(self.hops) < 2 * MOST_STAGES:
                self.hops[source, target] = hop
        return hop


class RequestMetrics(Collector):
    """All models; a collector for a registry, and an `Observer`."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def observe(self, finished: Finished) -> None:
        """See `cutwater.api.finished.Observer`."""
        model = self._models.get(finished.model)
        if model is None:
            model = self._models[finished.model] = _Model()
        model.end(finished)

    def collect(self) -> Iterable[Metric]:
        """See `Collector.collect`."""
        yield from self._of_requests()
        yield from self._of_stages()
        yield from self._of_hops()

    def _of_requests(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "cutwater_requests",
            "Requests that ended, by door (http, grpc, native) and outcome (answered, or the kind of the error).",
            labels=("model", "door", "outcome"),
        )
        latency = HistogramMetricFamily(
            "cutwater_request_seconds",
            "From asking to the answer, of requests that were answered.",
            labels=("model",),
        )
        queue = HistogramMetricFamily(
            "cutwater_gateway_queue_seconds",
            "Waiting at the gateway, until the attempt that was answered left it.",
            labels=("model",),
        )
        transfer = SummaryMetricFamily(
            "cutwater_transfer_seconds",
            "All hops of a request together, measured on the gateway's clock.",
            labels=("model",),
        )
        sums = {
            "unclear": CounterMetricFamily(
                "cutwater_hops_unclear",
                "Requests whose single hops are not known, only their sum, as the clocks of their stages differ.",
                labels=("model",),
            ),
            "degraded": CounterMetricFamily(
                "cutwater_degraded_answers", "Answers of the gateway's own copy of the model.", labels=("model",)
            ),
            "request_bytes": CounterMetricFamily(
                "cutwater_request_bytes", "Bytes of requests, as they arrived.", labels=("model",)
            ),
            "answer_bytes": CounterMetricFamily(
                "cutwater_answer_bytes", "Bytes of answers, as arrays.", labels=("model",)
            ),
        }
        for name, model in self._models.items():
            for (door, outcome), count in model.ends.items():
                requests.add_metric((name, door, outcome), count)
            model.latency.add_to(latency, (name,))
            model.queue.add_to(queue, (name,))
            model.transfer.add_to(transfer, (name,))
            for field, family in sums.items():
                family.add_metric((name,), getattr(model, field))
        return requests, latency, queue, transfer, *sums.values()

    def _of_stages(self) -> Iterable[Metric]:
        labels = ("model", "stage")
        spread = {
            "queue": HistogramMetricFamily(
                "cutwater_stage_queue_seconds", "Waiting at a stage to be computed.", labels=labels
            ),
            "compute": HistogramMetricFamily(
                "cutwater_stage_compute_seconds", "Computing of the batch a request was in.", labels=labels
            ),
            "batch": HistogramMetricFamily(
                "cutwater_stage_batch_size",
                "Requests computed together, once for each of them.",
                labels=labels,
            ),
        }
        sums = {
            "decode": SummaryMetricFamily("cutwater_stage_decode_seconds", "Unpacking at a stage.", labels=labels),
            "encode": SummaryMetricFamily("cutwater_stage_encode_seconds", "Packing at a stage.", labels=labels),
            "hold": SummaryMetricFamily(
                "cutwater_stage_hold_seconds", "Waiting at a stage for the next one to take it.", labels=labels
            ),
        }
        for name, model in self._models.items():
            for stage, found in model.stages.items():
                for field, family in (*spread.items(), *sums.items()):
                    getattr(found, field).add_to(family, (name, stage))
        return *spread.values(), *sums.values()

    def _of_hops(self) -> Iterable[Metric]:
        labels = ("model", "source", "target")
        seconds = HistogramMetricFamily(
            "cutwater_hop_seconds",
            "From handing a frame to the link until its last byte is there, where both ends have the same clock.",
            labels=labels,
        )
        nbytes = CounterMetricFamily("cutwater_hop_bytes", "Bytes of tensors on a hop, packed.", labels=labels)
        plain = CounterMetricFamily(
            "cutwater_hop_plain_bytes",
            "Bytes of the tensors of a hop before its codec; only into the first stage and out of the last one.",
            labels=labels,
        )
        packed = CounterMetricFamily(
            "cutwater_hop_coded_bytes", "Bytes of the same tensors after the codec.", labels=labels
        )
        for name, model in self._models.items():
            for (source, target), hop in model.hops.items():
                hop.seconds.add_to(seconds, (name, source, target))
                nbytes.add_metric((name, source, target), hop.nbytes)
                if hop.plain[0]:
                    plain.add_metric((name, source, target), hop.plain[0])
                    packed.add_metric((name, source, target), hop.plain[1])
        return seconds, nbytes, plain, packed
