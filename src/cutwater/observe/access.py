"""AccessLog: one line for each request that ended, as many a second as somebody can read."""

import logging

from cutwater.api.finished import Finished
from cutwater.units import format_seconds

MOST = 20
"""Lines per second; of the others only their number is said."""
LONGEST = 200
"""Of what a client calls its request, so many characters are said."""

_log = logging.getLogger("cutwater.access")


class AccessLog:
    """Requests that failed at INFO, answers at DEBUG."""

    def __init__(self) -> None:
        self._second = 0
        self._said = self._unsaid = 0

    def observe(self, finished: Finished) -> None:
        """See `cutwater.api.finished.Observer`."""
        level = logging.INFO if finished.fault else logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        second = int(finished.ended)
        if second != self._second:
            if self._unsaid:
                _log.info("%d more requests ended within a second", self._unsaid, extra={"unsaid": self._unsaid})
            self._second, self._said, self._unsaid = second, 0, 0
        if self._said >= MOST:
            self._unsaid += 1
            return
        self._said += 1
        latency = finished.ended - finished.began
        _log.log(
            level,
            "%s after %s",
            f"{finished.fault}: {finished.why}," if finished.why else finished.fault or "answered",
            format_seconds(latency),
            extra=_fields(finished, latency),
        )


def _fields(finished: Finished, latency: float) -> dict[str, str | float | int | bool]:
    fields: dict[str, str | float | int | bool] = {
        "request": finished.request,
        "model": finished.model,
        "client": finished.client,
        "door": finished.door,
        "seconds": round(latency, 6),
    }
    if finished.id:
        fields["id"] = finished.id[:LONGEST]
    if finished.fault:
        fields["outcome"] = finished.fault
    if finished.degraded:
        fields["degraded"] = True
    if finished.span:
        fields["traceparent"] = finished.span
    return fields
