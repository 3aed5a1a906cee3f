"""Interleaved rounds: candidates take turns, so that what else the machine does falls on all of them alike.

A figure of these benchmarks is the ratio of two candidates in the same round; quoted are the median over the rounds
and the quartiles. A turn waits until the machine is quiet, and is repeated, a limited number of times, if other
processes (or the host of a virtual machine) took more than `QUIET` of the cores meanwhile. How often that was
necessary, and what the others took in the turns that counted, is part of the conditions.
"""

import asyncio
import contextlib
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

QUIET = 0.03
"""Share of all cores that others may take in a turn that counts."""
LISTEN = 0.3
"""Seconds without a disturbance before a turn begins."""
PATIENCE = 40.0
"""Seconds a turn may take to be undisturbed; after that the least disturbed try counts."""
T = TypeVar("T")
TICKS = os.sysconf("SC_CLK_TCK")


class Turn(NamedTuple):
    """What one turn of a candidate came to."""

    rate: float
    """Answers per second."""
    cpu: float
    """Processor time of all its processes, in seconds per answer."""


Candidate = Callable[[], Awaitable[Turn]]
"""Runs for a while."""


@dataclass(frozen=True)
class Ratio:
    """How many times as much one candidate reached as another, over the rounds."""

    median: float
    low: float
    """Lower quartile."""
    high: float
    """Upper quartile."""
    rounds: int

    def __str__(self) -> str:
        """With its doubt: "1.14 (1.12 to 1.15, 7 rounds)"."""
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f}, {self.rounds} rounds)"


@dataclass
class Rounds:
    """What every candidate reached in every round, and how quiet the machine was."""

    turns: dict[str, list[Turn]]
    others: list[float] = field(default_factory=list)
    """Share of the cores that others took, of every turn that counted."""
    repeated: int = 0
    """Turns that did not count because others were busy."""

    def ratio(self, one: str, other: str) -> Ratio:
        """The rate of ``one`` over that of ``other``, round by round."""
        return ratio([turn.rate for turn in self.turns[one]], [turn.rate for turn in self.turns[other]])

    def cpu_ratio(self, one: str, other: str) -> Ratio:
        """The processor time per answer of ``one`` over that of ``other``, round by round."""
        return ratio([turn.cpu for turn in self.turns[one]], [turn.cpu for turn in self.turns[other]])

    def __str__(self) -> str:
        """The conditions in words."""
        loud = sum(share > QUIET for share in self.others)
        return (
            f"others took {statistics.median(self.others):.1%} of the cores (median), more than {QUIET:.0%} "
            f"in {loud} of {len(self.others)} turns; {self.repeated} turns were repeated for that"
        )


def ratio(ones: Sequence[float], others: Sequence[float]) -> Ratio:
    """Median and quartiles of the ratios of figures of the same round."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0], 1)
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(middle, low, high, len(ratios))


async def interleave(candidates: Mapping[str, Candidate], rounds: int) -> Rounds:
    """Let the candidates take turns ``rounds`` times, in the same order each time."""
    found = Rounds({name: [] for name in candidates})
    for _ in range(rounds):
        for name, candidate in candidates.items():
            tries = await undisturbed(candidate)
            share, turn = min(tries, key=itemgetter(0))
            found.turns[name].append(turn)
            found.others.append(share)
            found.repeated += len(tries) - 1
    return found


async def undisturbed(work: Callable[[], Awaitable[T]]) -> list[tuple[float, T]]:
    """The share others took and what came of the work, of every try up to the first undisturbed one."""
    began = time.perf_counter()
    tries: list[tuple[float, T]] = []
    while not tries or (tries[-1][0] > QUIET and time.perf_counter() - began < PATIENCE):
        while (await _others(lambda: asyncio.sleep(LISTEN)))[0] > QUIET:
            if time.perf_counter() - began > PATIENCE:
                break
        tries.append(await _others(work))
    return tries


async def _others(work: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    """The share of all cores that others took during some work, and what came of it."""
    before, began = _others_seconds(), time.perf_counter()
    result = await work()
    elapsed = time.perf_counter() - began
    return max(0.0, _others_seconds() - before) / (elapsed * (os.cpu_count() or 1)), result


def conditions(packages: Iterable[str]) -> str:
    """One line on machine, versions and load, to be printed before the figures."""
    facts = [
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in packages),
        f"load before {os.getloadavg()[0]:.2f}",
    ]
    return ", ".join(facts)


def cpu_seconds(*pids: int) -> float:
    """Processor time of these processes and of all they started, in seconds."""
    total = 0.0
    for pid in pids:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _others_seconds() -> float:
    """Seconds the cores have spent on other processes than our own, or the host took from them."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(None, 9)[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS - cpu_seconds(os.getpid())
