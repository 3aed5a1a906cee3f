"""Recovery: how a service got over a fault, from what came of the requests around it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cutwater.lab.load.checked import Attempt
from cutwater.lab.load.result import GOOD
from cutwater.units import Seconds

BEFORE: Seconds = 10.0
"""So long before a fault is what is usual."""
ONSET: Seconds = 5.0
"""A backlog that begins later than this after a fault does not come from it."""
CALM: Seconds = 0.5
"""A backlog that comes back sooner had not gone."""
WINDOW: Seconds = 1.0
"""Throughput is counted over two windows of this length, one after the other."""
BACK = 0.95
"""Of the requests that come, so many must be answered in each window."""


class Recovery(NamedTuple):
    """How a service got over a fault; seconds after it, None: it did not before the next one."""

    throughput: Seconds | None
    """It answered as fast as it was asked again."""
    backlog: Seconds | None
    """All that had piled up meanwhile was done as well."""


def recovery(attempts: Sequence[Attempt], fault: Seconds, until: Seconds) -> Recovery:
    """When a service had got over a fault.

    Requests that are due and have no answer yet are open. While a fault keeps answers away they pile up: more are open
    than were at most in the `BEFORE` seconds before. The backlog is done when that is over for `CALM` seconds.
    Throughput is back at the latest then, or with the first good answer from which on, in each of two windows, they are
    `BACK` of the requests that came.

    Args:
        attempts: in any order.
        fault: when it happened, in seconds since the load began.
        until: the next fault, or the end.

    Returns:
        Zeros if nothing piled up.
    """
    begun, done = _pile(attempts, fault, until)
    if begun is None:
        return Recovery(0.0, 0.0)
    backlog = None if done is None else done - fault
    limit = until - 2 * WINDOW if done is None else done
    dues = np.sort([each.due for each in attempts if begun <= each.due < until])
    ends = np.sort([each.ended for each in attempts if each.result in GOOD and begun <= each.ended < until])

    def keeps_up(since: Seconds) -> bool:
        window = (since, since + WINDOW)
        came, answered = (int(np.diff(np.searchsorted(times, window))[0]) for times in (dues, ends))
        return answered >= BACK * came

    for at in ends[ends < limit]:
        if keeps_up(at) and keeps_up(at + WINDOW):
            return Recovery(float(at) - fault, backlog)
    return Recovery(backlog, backlog)


def _pile(attempts: Sequence[Attempt], fault: Seconds, until: Seconds) -> tuple[Seconds | None, Seconds | None]:
    """From when to when requests had piled up after a fault; None: they never did, or it did not end."""
    usual, begun, gone = 0, None, None
    for at, backlog in _backlog(attempts):
        if at >= until:
            break
        if at < fault:
            usual = max(usual, backlog) if at >= fault - BEFORE else 0
        elif backlog > usual:
            if (gone is not None and at - gone > CALM) or (begun is None and at > fault + ONSET):
                break
            begun, gone = begun if begun is not None else at, None
        elif begun is not None and gone is None:
            gone = at
    return begun, gone


def _backlog(attempts: Sequence[Attempt]) -> Iterator[tuple[Seconds, int]]:
    """How many requests are open from when on."""
    steps = [(each.due, 1) for each in attempts] + [(each.ended, -1) for each in attempts]
    backlog = 0
    for at, step in sorted(steps):
        backlog += step
        yield at, backlog
