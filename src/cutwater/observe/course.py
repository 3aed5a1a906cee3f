"""Course: where the time of one answered request went, part after part, although each stage has a clock of its own.

    began  launched                                                                           ended
      | queue |  hop  | stage-1: queue decode compute encode hold |  hop  | stage-2 ... | hop |

What a stage says is good for differences within one mark. The hops lie between marks, on two clocks; but all of them
together are what is left of the latency, which is on one clock. So a hop is known for itself where both its ends seem
to have the same clock, as processes of one machine have: then it is neither negative nor longer than all hops together.
The others share equally what remains.
"""

from itertools import pairwise
from typing import NamedTuple

from cutwater.api.finished import Finished
from cutwater.units import Seconds

GATEWAY = "gateway"
"""The first end of the first hop, and the last end of the last one."""


class Hops(NamedTuple):
    """The hops of one request: into each stage, and from the last one back."""

    seconds: list[Seconds]
    total: Seconds
    """Their sum, on the gateway's clock; known whatever the clocks of the stages are."""
    wait: Seconds
    """At the gateway, before the first of them; 0 where it is not known, and then part of the first hop."""
    agreed: bool
    """All clocks seem to be one: each hop is measured, none is estimated."""


def hops(finished: Finished) -> Hops:
    """The hops of a request that was answered; its trail is not empty."""
    began, ended, launched = finished.began, finished.ended, finished.launched
    wait = launched - began if launched else 0.0
    before = began + wait
    total = ended - before
    found: list[Seconds] = []
    agreed = True
    for mark in finished.trail:
        gap = mark.received - before
        before = mark.sent
        total -= before - mark.received
        if gap < 0.0:
            agreed = False
        found.append(gap)
    gap = ended - before
    found.append(gap)
    if gap < 0.0:
        agreed = False
    # All gaps add up to the total: if none is negative, none is too long either.
    return Hops(found if agreed else _estimated(found, total), max(total, 0.0), wait, agreed)


def _estimated(gaps: list[Seconds], total: Seconds) -> list[Seconds]:
    """Gaps that cannot be right share equally what those that can be leave over."""
    if total <= 0.0:
        return [0.0] * len(gaps)
    likely = [0.0 <= gap <= total for gap in gaps]
    left = total - sum(gap for gap, is_likely in zip(gaps, likely, strict=True) if is_likely)
    if left < 0.0 or all(likely):
        return [total / len(gaps)] * len(gaps)
    share = left / likely.count(False)
    return [gap if is_likely else share for gap, is_likely in zip(gaps, likely, strict=True)]


class Part(NamedTuple):
    """Something that happened to a request, in seconds since it was asked."""

    name: str
    begin: Seconds
    end: Seconds
    stage: int
    """Index of the mark it is about: the stage itself, a part of it, or the hop into it; -1: none."""
    parts: tuple["Part", ...] = ()
    """What it consists of, without gaps."""


def lay(finished: Finished) -> tuple[Part, ...]:
    """All parts of an answered request; they follow each other without gaps and fill its latency."""
    trail = finished.trail
    if not trail:
        return ()
    found = hops(finished)
    stays = [mark.sent - mark.received for mark in trail]
    # A stage's clock may run a little faster; and whoever claims more time than there was must not lie outside of it.
    room = finished.ended - finished.began - found.wait - found.total
    pace = min(1.0, room / sum(stays)) if sum(stays) > 0.0 else 1.0
    parts: list[Part] = []
    now = 0.0
    if finished.launched:
        parts.append(Part("queue", 0.0, found.wait, -1))
        now = found.wait
    source = GATEWAY
    for number, mark in enumerate(trail):
        begin = now + found.seconds[number]
        parts.append(Part(f"hop {source} -> {mark.stage}", now, begin, number))
        now = begin + stays[number] * pace
        parts.append(Part(mark.stage, begin, now, number, _within(finished, number, begin, now, pace)))
        source = mark.stage
    latency = finished.ended - finished.began
    parts.append(Part(f"hop {source} -> {GATEWAY}", min(now, latency), latency, -1))
    return tuple(parts)


def _within(finished: Finished, number: int, begin: Seconds, end: Seconds, pace: float) -> tuple[Part, ...]:
    """What one stage did: it waited, unpacked, computed, packed, and held the result until the next hop took it."""
    mark = finished.trail[number]
    started = begin + (mark.started - mark.received) * pace
    ready = begin + (mark.finished - mark.received) * pace
    moments = [
        ("queue", begin),
        ("decode", started - mark.decode * pace),
        ("compute", started),
        ("encode", ready),
        ("hold", ready + mark.encode * pace),
        ("", end),
    ]
    parts: list[Part] = []
    now = begin
    for (name, _), (_, until) in pairwise(moments):
        after = min(max(until, now), end)
        parts.append(Part(name, now, after, number))
        now = after
    return tuple(parts)
