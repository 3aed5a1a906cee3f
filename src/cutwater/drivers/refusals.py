"""Refusals: whom a process has turned away at its links, counted by reason and logged."""

import logging
import time
from collections import Counter

from cutwater.units import Seconds

CERTIFICATE = "certificate"
"""None, one of another cluster, or one that has run out or is revoked."""
TLS = "tls"
"""No TLS at all, or not the version spoken here."""
TOKEN = "token"
"""Of another deployment, or of one that is over."""
GREETING = "greeting"
"""Of another protocol, or refused for what it asks."""
FRAME = "frame"
"""Over the size limit, or no frame."""
SILENCE = "silence"
"""No greeting in time."""

EVERY: Seconds = 1.0
"""Of one reason, one line in the log at most so often: who knocks a thousand times fills no disk."""

_log = logging.getLogger(__name__)


class Refusals:
    """Of one process."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[Seconds, int]] = {}
        """Reason -> when it was logged last, and the count then."""

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> how often, since the process started."""
        return dict(self._counts)

    def note(self, reason: str, what: str) -> None:
        """Somebody was turned away."""
        self._counts[reason] += 1
        now, count = time.monotonic(), self._counts[reason]
        at, then = self._logged.get(reason, (-EVERY, 0))
        if now - at >= EVERY:
            more = f" ({count - then - 1} more like it since the last time)" if count - then > 1 else ""
            _log.warning("refused (%s): %s%s", reason, what, more)
            self._logged[reason] = (now, count)
