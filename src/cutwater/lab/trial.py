"""Trial: one measured run of one plan on given inputs, with predicted beside measured.

Two phases, because a prediction is of two things. First a few requests one at a time: what one request takes when
nothing else goes on. Then all of them with enough in flight to keep every stage busy: what can be sustained.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec
import numpy as np

from cutwater.cut.stage import Stage
from cutwater.errors import CutwaterError, WorkerLost
from cutwater.frameworks.base import Array
from cutwater.lab.inputs import Item
from cutwater.lab.timing import sample
from cutwater.plan.plan import Plan
from cutwater.profile.profile import Sample
from cutwater.services.workers.local import LocalOptions, LocalPipeline
from cutwater.services.workers.outcome import Outcome
from cutwater.services.workers.tally import PipelineSnapshot
from cutwater.units import NodeId, RequestId, Seconds
from cutwater.wire.message import Mark

Feeds = Mapping[str, Array]
ALONE = 8
"""How many requests are sent one at a time."""
FEW = 30
"""Answers below which a throughput includes the filling of the pipeline."""


class Quantiles(msgspec.Struct, frozen=True):
    """Seconds."""

    p50: Seconds
    p90: Seconds
    p99: Seconds
    worst: Seconds


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage did, beside what it was expected to do; seconds and bytes per request."""

    node: NodeId
    begin: str
    end: str
    predicted: Seconds
    """Computing, at the plan's assumption of how busy the other cores are."""
    computed: Sample
    """Computing, under load: processor time with one thread, elapsed time with several."""
    busy: float
    """Share of the time it computed, packed or unpacked."""
    wait: Seconds
    """Median wait for its turn, under load."""
    decode: Seconds
    encode: Seconds
    received_bytes: float
    sent_bytes: float
    batch: float
    """Mean number of requests computed together."""


class HopResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one hop carried, beside what it was expected to carry; per request, one at a time."""

    source: str
    target: str
    codec: str
    predicted_bytes: float
    nbytes: float
    predicted: Seconds
    """Propagation and transfer, forwards."""
    measured: Seconds | None
    """Median from handing over to having it whole; None where one end is the gateway, which leaves no mark."""


class Failed(msgspec.Struct, frozen=True):
    """An input without a result."""

    name: str
    kind: str
    message: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what was asked, what came of it, and how fast."""

    plan: Plan
    requests: int
    answered: int
    failures: tuple[Failed, ...]
    elapsed: Seconds
    """Of the second phase."""
    throughput: float
    """Answers per second while the pipeline was full."""
    latency: Quantiles
    """Under load."""
    alone: Sample | None
    """Latency of one request with nothing else going on."""
    stages: tuple[StageResult, ...]
    hops: tuple[HopResult, ...]
    trails: dict[RequestId, tuple[Mark, ...]]
    """Of the second phase: request -> what each stage did with it."""


async def run_trial(
    stages: Sequence[Stage],
    plan: Plan,
    inputs: Iterable[Item],
    options: LocalOptions = LocalOptions(),  # noqa: B008
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_outcome: Callable[[Item, Outcome | CutwaterError], None] = lambda item, outcome: None,
    on_progress: Callable[[PipelineSnapshot, Sequence[Seconds]], None] = lambda snapshot, latencies: None,
) -> Trial:
    """Run a plan on this machine.

    Args:
        stages: of the plan, see `cutwater.services.workers.stages`.
        plan: what is run.
        inputs: what is asked; read only as fast as it is answered.
        options: of the pipeline; its cores and engine.
        on_ready: told when all workers serve.
        on_outcome: told of each input's outcome, in order.
        on_progress: told after each outcome how the pipeline stands, with the latencies under load so far.

    Raises:
        CutwaterError: when the pipeline cannot be started.
        WorkerLost: when a stage has lost its last worker; what was answered until then has been told.
    """
    record = _Record(on_outcome)
    source = iter(inputs)
    replicas = [len(stage.nodes) for stage in plan.stages]
    # Enough that each worker has a batch to compute and one that waits.
    full = (2 * sum(replicas) + 2) * options.batching.limit
    async with LocalPipeline(stages, plan.codecs, replicas=replicas, options=options) as pipeline:
        on_ready()
        async for outcome in pipeline.stream(record.asking(islice(source, ALONE)), in_flight=1):
            record.add(outcome)
        alone = record.phase()
        async for outcome in pipeline.stream(record.asking(source), in_flight=full):
            record.add(outcome)
            on_progress(pipeline.snapshot(), record.latencies)
            if isinstance(outcome, WorkerLost):
                raise outcome
        loaded = record.phase()
    # Too few inputs for a second phase: then the first is all there is to tell.
    return fold(
        plan,
        alone,
        loaded if loaded.outcomes else alone,
        requests=record.requests,
        failures=record.failures,
        threads=options.engine.threads,
    )


@dataclass
class Phase:
    """The outcomes with a result of one phase, and when each of them was there."""

    outcomes: list[Outcome] = field(default_factory=list)
    moments: list[Seconds] = field(default_factory=list)
    elapsed: Seconds = 0.0

    def throughput(self) -> float:
        """Answers per second once the first tenth is there, so that filling the pipeline is not counted.

        Of fewer than `FEW` all count, from the start: too few to tell the filling from the rest.
        """
        answers = len(self.moments)
        if answers < FEW:
            return answers / self.elapsed if self.elapsed else 0.0
        first = answers // 10
        return (answers - first) / (self.moments[-1] - self.moments[first - 1])


class _Record:
    """Items on the way in, outcomes on the way out."""

    def __init__(self, on_outcome: Callable[[Item, Outcome | CutwaterError], None]) -> None:
        self.failures: list[Failed] = []
        self.requests = 0
        self.latencies: list[Seconds] = []
        self._on_outcome = on_outcome
        self._asked: deque[Item] = deque()
        self._began = time.perf_counter()
        self._phase = Phase()

    def asking(self, inputs: Iterable[Item]) -> Iterator[Feeds | CutwaterError]:
        for item in inputs:
            self._asked.append(item)
            yield item.feeds if item.error is None else item.error

    def add(self, outcome: Outcome | CutwaterError) -> None:
        item = self._asked.popleft()
        self.requests += 1
        if isinstance(outcome, Outcome):
            self._phase.outcomes.append(outcome)
            self._phase.moments.append(time.perf_counter())
            self.latencies.append(outcome.latency)
        else:
            self.failures.append(Failed(item.name, outcome.kind, str(outcome)))
        self._on_outcome(item, outcome)

    def phase(self) -> Phase:
        """The phase that ends now; a new one begins."""
        ended, self._phase, self.latencies = self._phase, Phase(), []
        now = time.perf_counter()
        ended.elapsed, self._began = now - self._began, now
        return ended


def fold(
    plan: Plan, alone: Phase, loaded: Phase, *, requests: int, failures: Sequence[Failed] = (), threads: int = 1
) -> Trial:
    """What a plan was measured to do, one request at a time and under load; they may be one and the same phase."""
    answered = len(alone.outcomes) + (len(loaded.outcomes) if loaded is not alone else 0)
    latencies = [outcome.latency for outcome in loaded.outcomes] or [float("nan")]
    quantiles = Quantiles(*(float(q) for q in np.quantile(latencies, (0.5, 0.9, 0.99, 1.0))))
    return Trial(
        plan=plan,
        requests=requests,
        answered=answered,
        failures=tuple(failures),
        elapsed=loaded.elapsed,
        throughput=loaded.throughput(),
        latency=quantiles,
        alone=sample([outcome.latency for outcome in alone.outcomes]) if alone.outcomes else None,
        stages=tuple(_stage_result(plan, k, loaded, threads) for k in range(len(plan.stages))),
        hops=tuple(_hop_result(plan, k, alone) for k in range(len(plan.codecs))),
        trails={RequestId(k): outcome.trail for k, outcome in enumerate(loaded.outcomes)},
    )


def _stage_result(plan: Plan, k: int, phase: Phase, threads: int) -> StageResult:
    stage, expected = plan.stages[k], plan.score.stages[k]
    marks = [outcome.trail[k] for outcome in phase.outcomes]
    work = sum((mark.finished - mark.started) / mark.batch + mark.decode + mark.encode for mark in marks)
    return StageResult(
        node=expected.node,
        begin=stage.begin.label,
        end=stage.end.label,
        predicted=expected.compute,
        computed=sample([_computing(mark, threads) for mark in marks]),
        busy=work / max(phase.elapsed * len(stage.nodes), 1e-9),
        wait=_median([mark.started - mark.received for mark in marks]),
        decode=_median([mark.decode for mark in marks]),
        encode=_median([mark.encode for mark in marks]),
        received_bytes=_mean([mark.received_bytes for mark in marks]),
        sent_bytes=_mean([mark.sent_bytes for mark in marks]),
        batch=_mean([mark.batch for mark in marks]),
    )


def _computing(mark: Mark, threads: int) -> Seconds:
    """Seconds a core computed for one request; how long it took where several threads did, which are not all seen."""
    return (mark.cpu if threads == 1 else mark.finished - mark.started) / mark.batch


def _hop_result(plan: Plan, k: int, phase: Phase) -> HopResult:
    """Between two stages both marks are on this machine's one clock, so the hop is what lies between them."""
    expected = plan.score.hops[k]
    trails = [outcome.trail for outcome in phase.outcomes]
    last = k == len(plan.stages)
    carried = [float(trail[k - 1].sent_bytes if last else trail[k].received_bytes) for trail in trails]
    inner = 0 < k < len(plan.stages)
    between = [trail[k].received - trail[k - 1].sent for trail in trails] if inner else []
    return HopResult(
        source=expected.source,
        target=expected.target,
        codec=expected.codec,
        predicted_bytes=expected.nbytes,
        nbytes=_mean(carried),
        predicted=expected.latency,
        measured=_median(between) if between else None,
    )


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
