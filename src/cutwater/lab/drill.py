"""A drill: what goes wrong and when, and the verdict on how a cluster under load took it. Nothing here acts.

What a drill promises is a list of criteria, each with the figure that was found; it is kept if all of them hold.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from random import Random
from statistics import median

import msgspec
import numpy as np

from cutwater.drivers.faults import Fault, Hang, Kill, Partition, Slow, What
from cutwater.lab.load.checked import Attempt
from cutwater.lab.load.recovery import Recovery, recovery
from cutwater.lab.load.result import GOOD, Result
from cutwater.units import NodeId, Seconds, format_seconds

FENCED: Seconds = 3.0
"""A worker or node that is gone or silent is noticed within."""
RECOVERED: Seconds = 10.0
"""Throughput is back within."""
LED: Seconds = 5.0
"""A standby leads within."""
REPLANNED: Seconds = 30.0
"""A slow node's work is elsewhere within."""
ANSWERED = 0.999
"""Of the accepted requests, without error."""
SETTLING: Seconds = 15.0
"""After the last fault, so that its end is seen."""
EXPLAINED = frozenset({"WorkerLost", "LinkLost", "DeadlineExceeded", "Refused", "Quarantined"})
"""Errors that a fault explains; any other is unexpected."""


class Kind(StrEnum):
    """What goes wrong in a drill."""

    KILL_STAGE = "kill-stage"
    KILL_NODE = "kill-node"
    HANG = "hang"
    SLOW = "slow"
    PARTITION = "partition"
    COORDINATOR = "coordinator"
    FABRIC = "fabric"
    KILL_LOADING = "kill-loading"
    NONE = "none"
    """Nothing: what the load alone does to the cluster."""


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """What is usual for a kind of drill."""

    every: Seconds
    says: str
    """For people: what is done."""
    settling: Seconds = SETTLING


HABITS = {
    Kind.KILL_STAGE: Habit(every=20.0, says="SIGKILL of a random worker"),
    Kind.KILL_NODE: Habit(every=40.0, says="SIGKILL of a random node agent, started again after 10 s", settling=25.0),
    Kind.HANG: Habit(every=30.0, says="SIGSTOP of a random worker, SIGCONT 15 s later", settling=25.0),
    Kind.SLOW: Habit(every=120.0, says="one node's processes share a quarter of a core for 60 s", settling=75.0),
    Kind.PARTITION: Habit(
        every=60.0, says="a node in a network namespace of its own cut off for 10 s, then 30 s", settling=40.0
    ),
    Kind.COORDINATOR: Habit(every=20.0, says="SIGKILL of the coordinator that leads, started again after 10 s"),
    Kind.FABRIC: Habit(every=20.0, says="SIGKILL of nats-server, started again after 1 s"),
    Kind.KILL_LOADING: Habit(every=20.0, says="SIGKILL of a worker while it loads, during a roll-out, or drains"),
    Kind.NONE: Habit(every=60.0, says="nothing goes wrong"),
}


class Moment(StrEnum):
    """What a worker is doing when it is killed."""

    SERVING = "serving"
    LOADING = "loading"
    """Its weights; it was killed a moment before, and started again."""
    ROLLING_OUT = "rolling out"
    """It belongs to an epoch that is being brought up."""
    DRAINING = "draining"
    """It belongs to an epoch that was switched from."""


class Planned(msgspec.Struct, frozen=True):
    """A fault to come; the victim is chosen when it is time."""

    fault: Fault
    moment: Moment = Moment.SERVING

    @property
    def at(self) -> Seconds:
        """Since the load began."""
        return self.fault.at


def schedule(kind: Kind, every: Seconds, duration: Seconds, rng: Random) -> list[Planned]:
    """The faults of a drill: one about every ``every`` seconds, the first after half as long, none near the end."""
    settling = min(HABITS[kind].settling, duration / 3)
    planned: list[Planned] = []
    number = 0
    while kind is not Kind.NONE:
        at = every * (number + 0.5) + rng.uniform(-0.1, 0.1) * every
        if at > duration - settling:
            break
        planned.append(_fault(kind, at, number))
        number += 1
    return planned


def _fault(kind: Kind, at: Seconds, number: int) -> Planned:
    match kind:
        case Kind.KILL_NODE:
            return Planned(Kill(at=at, what=What.NODE, back=10.0))
        case Kind.HANG:
            return Planned(Hang(at=at, what=What.WORKER, seconds=15.0))
        case Kind.SLOW:
            return Planned(Slow(at=at, factor=4.0, seconds=60.0))
        case Kind.PARTITION:
            return Planned(Partition(at=at, nodes=(NodeId(""),), seconds=(10.0, 30.0)[number % 2]))
        case Kind.COORDINATOR:
            return Planned(Kill(at=at, what=What.COORDINATOR, back=10.0))
        case Kind.FABRIC:
            return Planned(Kill(at=at, what=What.FABRIC, back=1.0))
        case Kind.KILL_LOADING:
            moments = (Moment.LOADING, Moment.ROLLING_OUT, Moment.DRAINING)
            return Planned(Kill(at=at, what=What.WORKER), moments[number % 3])
        case _:
            return Planned(Kill(at=at, what=What.WORKER))


class Injected(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as it happened; seconds since the load began."""

    fault: Fault
    moment: Moment
    at: Seconds
    victim: str
    happened: bool
    """The system shows it: the process is dead or stopped, the link is down, the quota bites."""
    noticed: Seconds | None = None
    """How long afterwards the cluster noticed; None: it did not."""
    by: str = ""
    """Who noticed, and what."""
    why: str = ""
    """Why it did not happen."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a drill."""

    kind: Kind
    duration: Seconds
    attempts: list[Attempt]
    sent: int
    repeated: int
    """Answers to requests that were answered before."""
    unanswered: int
    """Requests the gateway took in and, at the end, neither answered nor holds."""
    late: int
    """Answers of attempts that were given up, dropped by the gateway."""
    retried: int
    faults: list[Injected]
    switches: list[Seconds]
    """When the gateway began to use another epoch."""
    strangers: list[str]
    """Processes that ended though nobody here had ended them, and anything else that nobody here did."""


class Criterion(msgspec.Struct, frozen=True):
    """One promise."""

    name: str
    wanted: str
    found: str
    held: bool


class Spread(msgspec.Struct, frozen=True):
    """Seconds; ``missing``: of how many faults there is none."""

    median: Seconds
    most: Seconds
    missing: int
    count: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill has shown."""

    kind: Kind
    duration: Seconds
    attempts: int
    accepted: int
    answered: int
    """Rightly; the degraded ones included."""
    degraded: int
    errors: dict[str, int]
    refused: int
    lost: int
    duplicated: int
    wrong: int
    unexpected: int
    retried: int
    late: int
    faults: int
    happened: int
    detect: Spread
    recover: Spread
    """Until throughput was back."""
    drain: Spread
    """Until what had piled up was done."""
    replans_per_minute: float
    """On average."""
    most_replans: int
    """In any one minute."""
    p50: Seconds
    p99: Seconds
    worst: Seconds
    """Latency of right answers, from when they were due."""
    criteria: tuple[Criterion, ...]

    @property
    def held(self) -> bool:
        """Whether every promise was kept."""
        return all(each.held for each in self.criteria)


def judge(found: Findings) -> Verdict:
    """The verdict: a fold over what was seen, nothing else."""
    results = Counter(each.result for each in found.attempts)
    errors = Counter(each.kind for each in found.attempts if each.result in (Result.FAILED, Result.LOST))
    missing = found.sent - len(found.attempts)
    lost = results[Result.LOST] + missing + max(found.unanswered, 0)
    latencies = [each.latency for each in found.attempts if each.result in GOOD] or [0.0]
    p50, p99 = np.quantile(latencies, (0.5, 0.99))
    strange = [error for error in errors.elements() if error not in EXPLAINED]
    recoveries = _recoveries(found)
    verdict = Verdict(
        kind=found.kind,
        duration=found.duration,
        attempts=found.sent,
        accepted=found.sent - results[Result.REFUSED],
        answered=sum(results[each] for each in GOOD),
        degraded=results[Result.DEGRADED],
        errors=dict(errors),
        refused=results[Result.REFUSED],
        lost=lost,
        duplicated=found.repeated,
        wrong=results[Result.WRONG],
        unexpected=len(strange) + len(found.strangers),
        retried=found.retried,
        late=found.late,
        faults=len(found.faults),
        happened=sum(each.happened for each in found.faults),
        detect=_spread([each.noticed for each in found.faults]),
        recover=_spread([each.throughput for each in recoveries]),
        drain=_spread([each.backlog for each in recoveries]),
        replans_per_minute=len(found.switches) / found.duration * 60.0,
        most_replans=most_in_a_minute(found.switches),
        p50=float(p50),
        p99=float(p99),
        worst=max(latencies),
        criteria=(),
    )
    return msgspec.structs.replace(verdict, criteria=tuple(_criteria(verdict)))


def _recoveries(found: Findings) -> list[Recovery]:
    """After each fault, until the next one or the end; a fault that goes on may not have been recovered from."""
    limits = [later.at for _, later in pairwise(found.faults)] + [found.duration]
    return [recovery(found.attempts, each.at, until) for each, until in zip(found.faults, limits, strict=False)]


def most_in_a_minute(times: Sequence[Seconds]) -> int:
    """The largest number of these that lie within any 60 seconds."""
    return max((sum(begin <= each < begin + 60.0 for each in times) for begin in times), default=0)


def _spread(times: Sequence[Seconds | None]) -> Spread:
    known = [each for each in times if each is not None]
    return Spread(median(known or [0.0]), max(known or [0.0]), len(times) - len(known), len(times))


def _criteria(verdict: Verdict) -> list[Criterion]:
    share = verdict.answered / verdict.accepted if verdict.accepted else 0.0
    criteria = [
        _nothing("lost", verdict.lost),
        _nothing("duplicated", verdict.duplicated),
        _nothing("wrong", verdict.wrong),
        _nothing("unexpected", verdict.unexpected),
        Criterion("answered without error", f">= {ANSWERED:.1%}", f"{share:.3%}", share >= ANSWERED),
    ]
    if verdict.kind is Kind.NONE:
        return criteria
    happened = f"{verdict.happened} of {verdict.faults}"
    criteria.append(Criterion("faults happened", "all", happened, 0 < verdict.happened == verdict.faults))
    match verdict.kind:
        case Kind.SLOW:
            criteria.append(_within("re-planned", verdict.detect, REPLANNED))
            most = str(verdict.most_replans)
            criteria.append(Criterion("re-plans in any minute", "<= 1", most, verdict.most_replans <= 1))
            return criteria
        case Kind.COORDINATOR:
            criteria.append(_within("a standby leads", verdict.detect, LED))
        case Kind.FABRIC:
            criteria.append(_within("fabric answers again", verdict.detect, RECOVERED))
        case _:
            criteria.append(_within("detected", verdict.detect, FENCED))
    criteria.append(_within("throughput back", verdict.recover, RECOVERED))
    return criteria


def _nothing(name: str, found: int) -> Criterion:
    return Criterion(name, "0", str(found), found == 0)


def _within(name: str, spread: Spread, limit: Seconds) -> Criterion:
    found = f"median {format_seconds(spread.median)}, max {format_seconds(spread.most)}"
    if spread.missing:
        found += f", {spread.missing} of {spread.count} never"
    held = spread.count > 0 and not spread.missing and spread.most <= limit
    return Criterion(name, f"<= {limit:g} s", found, held)
