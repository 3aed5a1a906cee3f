"""Admission: how many may wait at the gateway, and how many may be on their way."""

import msgspec


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The limits; what else decides who comes in is in `cutwater.engine.gateway.door`."""

    window: int = 64
    """Most requests under way through the stages at once; fewer where fewer keep all stages busy."""
    queue: int = 1024
    """Most requests waiting for room in the window; one more is refused, or the last of them."""
