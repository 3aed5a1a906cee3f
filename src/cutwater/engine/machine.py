"""Machine: the one signature of everything that decides; what acts (a driver) obeys the commands it returns."""

from typing import Protocol, TypeVar

from cutwater.units import Seconds

Event = TypeVar("Event", contravariant=True)
Command = TypeVar("Command")
Snapshot = TypeVar("Snapshot", covariant=True)


class Machine(Protocol[Event, Command, Snapshot]):
    """Deterministic: the same events at the same times give the same commands."""

    def handle(self, event: Event, now: Seconds) -> list[Command]:
        """What to do about ``event``, in order. ``now`` never runs backwards."""
        ...

    def wake_at(self) -> Seconds | None:
        """When the machine wants a `Tick` at the latest; None: not before the next event. O(1)."""
        ...

    def snapshot(self) -> Snapshot:
        """What the machine holds, in figures."""
        ...

    def validate(self) -> None:
        """Raise AssertionError where the machine's books contradict each other; for tests."""
        ...
