"""Admission: who gets in at the gateway's door."""

import msgspec


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The policy: a window of requests under way and a bounded queue before it."""

    window: int = 64
    """Most requests under way through the stages at once."""
    queue: int = 1024
    """Most requests waiting for room in the window; one more is refused."""

    def admits(self, waiting: int) -> bool:
        """Whether one more request may wait behind ``waiting`` others."""
        return waiting < self.queue

    def launches(self, flying: int) -> bool:
        """Whether one more request may join ``flying`` others on their way."""
        return flying < self.window
