"""Mlperf: MLPerf's LoadGen drives instead, in one of its four scenarios; its verdict, beside what is measured here.

LoadGen calls from threads of its own and says which samples it wants; the event loop sends them. It knows no failures:
a request that fails is reported to it as complete, and counted here.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from cutwater.client.transport import Prepared
from cutwater.drivers.live import clock
from cutwater.errors import BadSetting, CutwaterError, MissingExtra, ProcessLost
from cutwater.lab.load.doubt import Estimate, mean, percentile
from cutwater.lab.load.figures import PERCENTILES
from cutwater.units import Seconds

_LINE = re.compile(r"^(?P<what>[^:]+?)\s*:\s*(?P<value>.+?)\s*$")
_QUERIES = 100
"""At least so many, where the time is too short for as many as LoadGen would want."""


_TRIALS = 8
"""Requests by which it is estimated how many will be needed."""


class Scenario(StrEnum):
    """As LoadGen calls them."""

    SINGLE_STREAM = "SingleStream"
    """One request after the other."""
    MULTI_STREAM = "MultiStream"
    """Several at once, then the next several."""
    SERVER = "Server"
    """Poisson arrivals at a rate, with an SLO."""
    OFFLINE = "Offline"
    """All at once."""


@dataclass(frozen=True, kw_only=True)
class MlperfOptions:
    """What LoadGen is told."""

    scenario: Scenario
    duration: Seconds
    """At least so long."""
    rate: float = 0.0
    """Server: arrivals per second. Offline: what is expected of the service, which says how many there are."""
    slo: Seconds = 0.0
    """Server: its latency bound."""
    at_once: int = 8
    """MultiStream: requests of a query."""
    seed: int = 0
    timeout: Seconds = 30.0

    def __post_init__(self) -> None:
        """Raises BadSetting for what the scenario needs and lacks."""
        if self.scenario in (Scenario.SERVER, Scenario.OFFLINE) and not self.rate > 0:
            raise BadSetting(f"--mlperf {self.scenario}: needs --rate, requests per second")
        if self.scenario is Scenario.SERVER and not self.slo > 0:
            raise BadSetting("--mlperf Server: needs --slo, its latency bound")


class MlperfReport(msgspec.Struct, frozen=True, kw_only=True):
    """What LoadGen says, and what was seen here."""

    valid: bool
    """What LoadGen says of its own rules, and nothing failed."""
    summary: dict[str, str]
    """Every line of its summary: "99.00 percentile latency (ns)" -> "1234567"."""
    requests: int
    failed: int
    errors: dict[str, int]
    throughput: float
    """Answers per second, from the first request to the last answer."""
    mean: Estimate | None
    """Of the latency, from the moment LoadGen asked, in seconds."""
    percentiles: dict[str, Estimate]


class _Sent(msgspec.Struct):
    began: Seconds
    ended: Seconds
    kind: str


async def mlperf(prepared: Sequence[Prepared], options: MlperfOptions, folder: Path) -> MlperfReport:
    """Let LoadGen drive.

    Args:
        prepared: The model's requests; LoadGen chooses among them.
        options: See there.
        folder: For LoadGen's files.

    Raises:
        MissingExtra: LoadGen is not installed.
        ProcessLost: It wrote no summary.
    """
    generator = _loadgen()
    loop, sent, tasks = asyncio.get_running_loop(), list[_Sent](), set[asyncio.Task[None]]()

    async def send(sample: int, index: int) -> None:
        began, kind = clock(), ""
        try:
            async with asyncio.timeout(options.timeout):
                await prepared[index]()
        except TimeoutError:
            kind = "DeadlineExceeded"
        except CutwaterError as error:
            kind = error.kind
        sent.append(_Sent(began, clock(), kind))
        generator.QuerySamplesComplete([generator.QuerySampleResponse(sample, 0, 0)])

    def begin(samples: list[tuple[int, int]]) -> None:
        for sample, index in samples:
            task = asyncio.create_task(send(sample, index))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def issue(samples: Sequence[Any]) -> None:
        loop.call_soon_threadsafe(begin, [(each.id, each.index) for each in samples])

    settings = _settings(generator, options, await _fastest(prepared))
    await asyncio.to_thread(_start, generator, issue, len(prepared), settings, folder)
    return _report(sent, _summary(folder))


def _loadgen() -> ModuleType:
    try:
        import mlperf_loadgen
    except ImportError:
        raise MissingExtra(
            "--mlperf needs the extra `loadgen`: pip install 'cutwater[loadgen]', or '.[loadgen]' in its source folder"
        ) from None
    module: ModuleType = mlperf_loadgen
    return module


async def _fastest(prepared: Sequence[Prepared]) -> Seconds:
    """Of a few requests, one after the other. Raises CutwaterError."""
    took = []
    for k in range(_TRIALS):
        began = clock()
        await prepared[k % len(prepared)]()
        took.append(clock() - began)
    return min(took)


def _start(generator: Any, issue: Any, samples: int, settings: Any, folder: Path) -> None:
    """Returns when LoadGen is done."""
    output = generator.LogOutputSettings()
    output.outdir = str(folder)
    logs = generator.LogSettings()
    logs.log_output = output
    service = generator.ConstructSUT(issue, lambda: None)
    library = generator.ConstructQSL(samples, samples, lambda indices: None, lambda indices: None)
    try:
        generator.StartTestWithLogSettings(service, library, settings, logs)
    finally:
        generator.DestroyQSL(library)
        generator.DestroySUT(service)


def _settings(generator: Any, options: MlperfOptions, fastest: Seconds) -> Any:
    made = generator.TestSettings()
    made.scenario = getattr(generator.TestScenario, options.scenario)
    made.mode = generator.TestMode.PerformanceOnly
    made.min_duration_ms = int(options.duration * 1000)
    made.min_query_count = 1 if options.scenario is Scenario.OFFLINE else _QUERIES
    made.qsl_rng_seed = made.sample_index_rng_seed = made.schedule_rng_seed = options.seed
    # It makes its queries beforehand, and when they are used up before the time is over, the run does not count.
    expected = max(int(fastest / 2 * 1e9), 1)
    match options.scenario:
        case Scenario.SERVER:
            made.server_target_qps = options.rate
            made.server_target_latency_ns = int(options.slo * 1e9)
        case Scenario.OFFLINE:
            made.offline_expected_qps = options.rate
        case Scenario.MULTI_STREAM:
            made.multi_stream_samples_per_query = options.at_once
            made.multi_stream_expected_latency_ns = expected
        case Scenario.SINGLE_STREAM:
            made.single_stream_expected_latency_ns = expected
    return made


def _summary(folder: Path) -> dict[str, str]:
    file = folder / "mlperf_log_summary.txt"
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise ProcessLost(f"LoadGen wrote no summary to {file}: {error.strerror}") from error
    return {found["what"].strip(): found["value"] for line in lines if (found := _LINE.match(line))}


def _report(sent: Sequence[_Sent], summary: dict[str, str]) -> MlperfReport:
    errors: dict[str, int] = {}
    for each in sent:
        if each.kind:
            errors[each.kind] = errors.get(each.kind, 0) + 1
    good = sorted((each for each in sent if not each.kind), key=lambda each: each.began)
    latencies = np.array([each.ended - each.began for each in good])
    span = max(each.ended for each in sent) - min(each.began for each in sent) if sent else 0.0
    failed = len(sent) - len(good)
    return MlperfReport(
        valid=summary.get("Result is") == "VALID" and not failed,
        summary=summary,
        requests=len(sent),
        failed=failed,
        errors=errors,
        throughput=len(good) / span if span else 0.0,
        mean=mean(latencies) if len(good) else None,
        percentiles={name: percentile(latencies, share) for name, share in PERCENTILES.items()} if len(good) else {},
    )
