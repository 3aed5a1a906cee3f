"""Log: what came of each request of a schedule, 35 bytes apiece, all of them made before the first is sent."""

from array import array
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutwater.client.timing import Timing, timing_of
from cutwater.client.transport import Glance
from cutwater.errors import CutwaterError
from cutwater.lab.load.result import GOOD, Result, ended_by
from cutwater.units import Seconds
from cutwater.workload.arrivals import Times
from cutwater.workload.schedule import Schedule

_RESULTS = tuple(Result)
_CODES = {result: code for code, result in enumerate(_RESULTS)}
_OPEN = _CODES[Result.OPEN]
_GOOD = tuple(_CODES[result] for result in GOOD)
NEVER: Seconds = float("nan")


class Request(NamedTuple):
    """One of them; seconds since the load began, NaN for what has not happened."""

    model: str
    due: Seconds
    sent: Seconds
    """When it was handed to its connection, or began to wait for one."""
    ended: Seconds
    result: Result
    kind: str
    """The error's; empty: none."""
    request: str
    """What the gateway called it; empty: it did not say, or nobody wanted to know."""

    @property
    def latency(self) -> Seconds:
        """Since it was due."""
        return self.ended - self.due


class Log:
    """Filled while a load runs, by the number of the request."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        slos: Mapping[str, Seconds] | None = None,
        names: bool = False,
        timings: bool = False,
    ) -> None:
        """Nothing has been sent.

        Args:
            schedule: All requests.
            slos: Model -> the time in which its requests should be answered; None: as the schedule says.
            names: Whether to keep what the gateway calls them.
            timings: Whether to keep where their time went, as far as their answers say so.
        """
        self.models = tuple(schedule.times)
        self.duration = schedule.duration
        self.slos = dict(schedule.slos if slos is None else slos)
        self.due, self.model = schedule.merged()
        count = len(self.due)
        self.fired = 0
        """How many have been due."""
        self.open = 0
        """How many have been due and not ended."""
        self.counts = dict.fromkeys(Result, 0)
        """Of those that have ended."""
        self.most_open = 0
        self.interrupted = False
        """Whether somebody ended it early."""
        self.abandoned = False
        """Whether it was given up because it could not succeed any more."""
        self._slo = [self.slos.get(model, float("inf")) for model in self.models]
        self._sent = array("d", [NEVER]) * count
        self._ended = array("d", [NEVER]) * count
        self._result = bytearray([_OPEN]) * count
        self._kind = array("H", [0]) * count
        self._kinds: dict[str, int] = {"": 0}
        self._names: dict[int, str] | None = {} if names else None
        self._timings: dict[int, str] | None = {} if timings else None

    def __len__(self) -> int:
        return len(self.due)

    def __iter__(self) -> Iterator[Request]:
        """Those that have been due, in that order."""
        kinds, names = list(self._kinds), self._names or {}
        for k in range(self.fired):
            model, result, kind = self.models[self.model[k]], _RESULTS[self._result[k]], kinds[self._kind[k]]
            yield Request(model, float(self.due[k]), self._sent[k], self._ended[k], result, kind, names.get(k, ""))

    @property
    def end(self) -> Seconds:
        """When requests ended to be due: the schedule's end, or the last one's time where it was ended early."""
        early = self.fired and (self.interrupted or self.abandoned)
        return float(self.due[self.fired - 1]) if early else self.duration

    @property
    def sent(self) -> Times:
        """Of each that has been due; NaN: it was given up unsent."""
        return np.frombuffer(self._sent, np.float64)[: self.fired]

    @property
    def ended(self) -> Times:
        """Of each that has been due; NaN: not yet, or never."""
        return np.frombuffer(self._ended, np.float64)[: self.fired]

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which of those that have been due were answered."""
        return np.isin(np.frombuffer(self._result, np.uint8)[: self.fired], _GOOD)

    @property
    def in_time(self) -> NDArray[np.bool_]:
        """Which of those that have been due were answered within their model's SLO; without an SLO: at all."""
        limits = np.array(self._slo)[self.model[: self.fired]]
        with np.errstate(invalid="ignore"):
            return np.asarray(self.good & (self.ended - self.due[: self.fired] <= limits))

    def timings(self) -> Iterator[tuple[int, Timing]]:
        """Of each request whose answer says where its time went: its number, and that."""
        for k, text in (self._timings or {}).items():
            if (timing := timing_of(text)) is not None:
                yield k, timing

    def lost(self, now: Seconds) -> NDArray[np.bool_]:
        """Which of those that have been due were not, or can no longer be, answered within their SLO."""
        limits = np.array(self._slo)[self.model[: self.fired]]
        waiting = np.frombuffer(self._result, np.uint8)[: self.fired] == _OPEN
        late = now - self.due[: self.fired] > limits
        return np.asarray(np.where(waiting, late, ~self.in_time))

    def results(self, which: NDArray[np.bool_]) -> dict[Result, int]:
        """How many of these, of those that have been due, came to what."""
        codes = np.bincount(np.frombuffer(self._result, np.uint8)[: self.fired][which], minlength=len(_RESULTS))
        return {result: int(count) for result, count in zip(_RESULTS, codes, strict=True) if count}

    def kinds(self, which: NDArray[np.bool_]) -> dict[str, int]:
        """The same for kinds of errors."""
        counts = np.bincount(np.frombuffer(self._kind, np.uint16)[: self.fired][which], minlength=len(self._kinds))
        return {kind: int(count) for kind, count in zip(self._kinds, counts, strict=True) if kind and count}

    # While it runs

    def fire(self) -> int:
        """The next request is due; its number."""
        self.fired += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return self.fired - 1

    def send(self, k: int, now: Seconds) -> None:
        """It is handed on."""
        self._sent[k] = now

    def answer(self, k: int, now: Seconds, glance: Glance) -> None:
        """It was answered."""
        self._end(k, now, Result.DEGRADED if glance.degraded else Result.ANSWERED)
        if self._names is not None and glance.request:
            self._names[k] = glance.request
        if self._timings is not None and glance.timing:
            self._timings[k] = glance.timing

    def fail(self, k: int, now: Seconds, error: CutwaterError) -> None:
        """It came to this instead."""
        self._kind[k] = self._kinds.setdefault(error.kind, len(self._kinds))
        self._end(k, now, ended_by(error))

    def leave(self, k: int, now: Seconds) -> None:
        """It is given up before it was sent."""
        self._end(k, now, Result.UNSENT)

    def _end(self, k: int, now: Seconds, result: Result) -> None:
        self._ended[k] = now
        self._result[k] = _CODES[result]
        self.counts[result] += 1
        self.open -= 1
