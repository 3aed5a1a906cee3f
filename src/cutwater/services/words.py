"""What a process says first on stdout to whoever has started it: that it serves, or why it cannot."""

import msgspec


class Serving(msgspec.Struct, frozen=True, tag=True):
    """The process serves; what others may want to know of it, such as its address."""

    facts: dict[str, str] = {}


class Unable(msgspec.Struct, frozen=True, tag=True):
    """The process cannot serve, and ends."""

    kind: str
    """Name of the class in `cutwater.errors`."""
    message: str
