"""Timing a loaded stage: warm, over several rounds, and on request while the other cores do the same work."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from cutwater.errors import RunError
from cutwater.frameworks.base import Array, EngineOptions, Framework, Session
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.profile.profile import Sample

Feeds = Mapping[str, Array]

_FEWEST = 5
"""Runs without which there is no median worth the name."""
_ATTEMPTS = 3
_UNQUIET = 0.1
"""Distance of the quartiles, as a share of the median, from which on measuring again is worth the time."""
_INTERRUPTED = 0.03
"""Share of a run's time without work on it from which on it counts as interrupted."""


@dataclass(frozen=True)
class MeasureOptions:
    """How to measure."""

    threads: int = 1
    """Threads of the inference engine."""
    batch: int = 1
    """Requests computed at once; times are per request all the same."""
    rounds: int = 25
    """Runs that count."""
    warmup: int = 3
    """Runs before those."""
    seconds: float = 1.0
    """Time one stage may take; where runs are slow there are fewer rounds, but at least five."""
    framework: Framework = field(default_factory=OnnxRuntime)
    """The engine to measure."""

    @property
    def engine(self) -> EngineOptions:
        """What a session to be timed is loaded with."""
        return EngineOptions(threads=self.threads)


def sample(seconds: Sequence[float]) -> Sample:
    """Median and distance between the quartiles; NaN where there is nothing."""
    if not seconds:
        return Sample(float("nan"), float("nan"), 0)
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return Sample(float(middle), float(high - low), len(seconds))


def faster(*samples: Sample) -> Sample:
    """The one with the smallest median."""
    return min(samples, key=lambda found: found.median)


def time_session(session: Session, feeds: Feeds, options: MeasureOptions) -> Sample:
    """Seconds for one request, from runs in which nobody else took the core.

    With one thread, a run that took noticeably longer than the processor worked on it was interrupted, and does not
    count, unless nearly all were. Where the quartiles still lie far apart, the stage is measured again, and the
    fastest attempt counts: whatever else the machine does only ever adds time. Raises StageFailed, BadTensor.
    """
    for _ in range(options.warmup):
        session.run(feeds)
    attempts: list[Sample] = []
    while len(attempts) < _ATTEMPTS and (not attempts or _unrest(attempts[-1]) > _UNQUIET):
        attempts.append(_attempt(session, feeds, options))
    return faster(*attempts)


def _unrest(found: Sample) -> float:
    return found.spread / found.median if found.median > 0 else 0.0


def _attempt(session: Session, feeds: Feeds, options: MeasureOptions) -> Sample:
    took: list[float] = []
    undisturbed: list[float] = []
    began = time.perf_counter()
    while len(undisturbed) < options.rounds:
        # Asking for the thread's time takes microseconds: it stays outside what is timed.
        worked = time.thread_time()
        start = time.perf_counter()
        session.run(feeds)
        end = time.perf_counter()
        worked = time.thread_time() - worked
        took.append((end - start) / options.batch)
        if options.threads > 1 or worked >= (1 - _INTERRUPTED) * (end - start):
            undisturbed.append(took[-1])
        if end - began > options.seconds and len(took) >= _FEWEST:
            break
    return sample(undisturbed if len(undisturbed) >= _FEWEST else took)


def time_in_turn(sessions: Sequence[Session], feeds: Sequence[Feeds], options: MeasureOptions) -> list[Sample]:
    """Seconds for one request of each session, when they run one after the other, each on freshly written inputs.

    Goes on for half of ``options.seconds`` a session, or as many rounds as asked for, whichever is longer.

    Raises:
        StageFailed, BadTensor: A session cannot run.
    """
    took: list[list[float]] = [[] for _ in sessions]
    enough = 0.5 * options.seconds * len(sessions)
    began = time.perf_counter()
    for number in count():
        for session, given, seconds in zip(sessions, feeds, took, strict=True):
            fresh = {name: array.copy() for name, array in given.items()}
            start, worked = time.perf_counter(), time.thread_time()
            session.run(fresh)
            worked, end = time.thread_time() - worked, time.perf_counter()
            # With one thread its processor time is the time, whoever else wanted the core meanwhile.
            seconds.append((worked if options.threads == 1 else end - start) / options.batch)
        elapsed, rounds = time.perf_counter() - began, number - options.warmup
        if elapsed > enough and (rounds >= options.rounds or (elapsed > 2 * enough and rounds >= _FEWEST)):
            break
    return [sample(seconds[options.warmup :]) for seconds in took]


def usable_cores() -> list[int]:
    """The cores this process may use; where the system cannot say, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def busy_cores(onnx: bytes, feeds: Feeds, options: MeasureOptions) -> Iterator[int]:
    """While inside, every core but ``options.threads`` of them runs this work, and this thread keeps off those.

    Yields:
        How many processes work.

    Raises:
        RunError: A process did not start.
    """
    cores = usable_cores()
    own, others = cores[: options.threads], cores[options.threads :]
    groups = [others[k : k + options.threads] for k in range(0, len(others) + 1 - options.threads, options.threads)]
    with tempfile.TemporaryDirectory(prefix="cutwater-") as folder, contextlib.ExitStack() as started:
        Path(folder, "work.onnx").write_bytes(onnx)
        np.savez(Path(folder, "feeds.npz"), **{f"feed:{name}": value for name, value in feeds.items()})  # type: ignore[arg-type]
        companions = [started.enter_context(_companion(folder, group)) for group in groups]
        for companion in companions:
            _read_line(companion)
        pin(own)
        try:
            yield len(companions)
        finally:
            pin(cores)


def pin(cores: Sequence[int]) -> None:
    """Keep the calling thread on these cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def idle_memory() -> int:
    """Bytes of resident memory of a process that could run stages and has loaded none. Raises RunError."""
    with _companion("-", []) as companion:
        return int(_read_line(companion))


@contextlib.contextmanager
def _companion(folder: str, cores: Sequence[int]) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "cutwater.lab.companion", folder, ",".join(map(str, cores))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        # It ends when its standard input does, which also happens when this process dies.
        process.communicate()


def _read_line(companion: "subprocess.Popen[str]") -> str:
    line = companion.stdout.readline() if companion.stdout else ""
    if not line:
        raise RunError("a process that should keep a core busy ended at once; see its message above")
    return line.strip()
