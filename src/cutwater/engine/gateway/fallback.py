"""Fallback: when the gateway answers by itself, with its own copy of the whole model."""

from cutwater.engine.alarms import Alarms
from cutwater.units import Seconds


class Fallback:
    """Up after some time without any other way, if somebody waits; down after some time with one."""

    def __init__(self, alarms: Alarms, patience: Seconds, linger: Seconds) -> None:
        """``patience``: how long there must be no other way before it is up; ``linger``: one before it is down."""
        self._alarms = alarms
        self._patience, self._linger = patience, linger
        self.on = False
        self._dark = True
        self._since: Seconds | None = None
        """When it became as dark, or as light, as it is."""

    def judge(self, *, dark: bool, waiting: bool, now: Seconds) -> None:
        """See whether it should be up. Sets alarms for the times at which that may change."""
        if dark != self._dark or self._since is None:
            self._dark, self._since = dark, now
            if dark or self.on:
                self._alarms.at(now + (self._patience if dark else self._linger), _nothing)
        if dark:
            self.on = self.on or (waiting and now >= self._since + self._patience)
        else:
            self.on = self.on and now < self._since + self._linger


def _nothing(now: Seconds) -> None:
    """To be awake is enough: it is judged then."""
