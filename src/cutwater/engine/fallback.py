"""Fallback: when the gateway answers by itself, with its own copy of the whole model."""

from cutwater.engine.alarms import Alarms
from cutwater.units import Seconds

PATIENCE: Seconds = 1.0
"""How long requests wait for another way before the gateway answers by itself."""
LINGER: Seconds = 10.0
"""How long another way must be open before the copy is taken down again."""


class Fallback:
    """Up after some time without any other way, if somebody waits; down after some time with one."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self.on = False
        self._dark = True
        self._since: Seconds | None = None
        """When it became as dark, or as light, as it is."""

    def judge(self, *, dark: bool, waiting: bool, now: Seconds) -> None:
        """See whether it should be up. Sets alarms for the times at which that may change."""
        if dark != self._dark or self._since is None:
            self._dark, self._since = dark, now
            if dark or self.on:
                self._alarms.at(now + (PATIENCE if dark else LINGER), _nothing)
        if dark:
            self.on = self.on or (waiting and now >= self._since + PATIENCE)
        else:
            self.on = self.on and now < self._since + LINGER


def _nothing(now: Seconds) -> None:
    """To be awake is enough: it is judged then."""
