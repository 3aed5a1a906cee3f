"""Batching: how many requests a stage takes at once, and how long it waits for company."""

import msgspec

from cutwater.units import Seconds


class Batching(msgspec.Struct, frozen=True, kw_only=True):
    """The policy: full or patient enough, then go."""

    limit: int = 1
    """Most requests in one batch; 1 where the stage has no dynamic batch axis or batching gains nothing."""
    patience: Seconds = 0.0
    """How long the oldest request waits for others, in seconds."""

    def due_at(self, waiting: int, oldest: Seconds) -> Seconds:
        """When a batch of ``waiting`` requests should start, the oldest of which came at ``oldest``."""
        return oldest if waiting >= self.limit else oldest + self.patience
