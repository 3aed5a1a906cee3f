"""Workloads: seeded arrivals of requests over time, as an endless (or bounded) iterable of times."""

from collections.abc import Callable, Iterator
from random import Random

from cutwater.errors import BadQuantity
from cutwater.units import Seconds

Arrivals = Callable[[float, Random], Iterator[Seconds]]
"""(rate, rng) -> when requests come, seconds from the start, without an end."""


def poisson(rate: float, rng: Random) -> Iterator[Seconds]:
    """Independent of each other, ``rate`` per second on average."""
    now = 0.0
    while True:
        now += rng.expovariate(rate)
        yield now


def constant(rate: float, rng: Random) -> Iterator[Seconds]:
    """One after the other, at equal distances."""
    number = 0
    while True:
        number += 1
        yield number / rate


def bursty(cv: float) -> Arrivals:
    """Gaps that vary by ``cv`` (their standard deviation over their mean, at least 1).

    A mixture of a short and a long exponential gap with balanced means (Whitt, "Approximating a point process by a
    renewal process", Operations Research 30(1), 1982).
    """
    share = 0.5 * (1.0 + ((cv * cv - 1.0) / (cv * cv + 1.0)) ** 0.5)

    def arrivals(rate: float, rng: Random) -> Iterator[Seconds]:
        now = 0.0
        while True:
            now += rng.expovariate(2.0 * (share if rng.random() < share else 1.0 - share) * rate)
            yield now

    return arrivals


def parse_arrivals(text: str) -> Arrivals:
    """``"poisson"``, ``"constant"`` or ``"cv=8"``. Raises BadQuantity."""
    if text == "poisson":
        return poisson
    if text == "constant":
        return constant
    name, _, value = text.partition("=")
    try:
        cv = float(value)
    except ValueError:
        cv = 0.0
    if name != "cv" or not cv >= 1.0:
        raise BadQuantity(f"{text!r} is no kind of arrivals; write poisson, constant, or cv=8 (a number from 1 up)")
    return bursty(cv)
