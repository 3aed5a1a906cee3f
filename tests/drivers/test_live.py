"""What happens when a machine, or what obeys it, breaks: it is told once, and the machine is never asked again."""

import asyncio
import logging
from dataclasses import dataclass

import pytest

from cutwater.drivers.live import Live
from cutwater.units import Seconds


@dataclass
class Add:
    number: int


class Counter:
    """A machine that adds up what it is told, says the sum, and cannot stand a zero."""

    def __init__(self) -> None:
        self.total = 0
        self.told = 0

    def handle(self, event: object, now: Seconds) -> list[Add]:
        self.told += 1
        assert isinstance(event, Add)
        self.total += 60 // event.number
        return [Add(self.total)]

    def wake_at(self) -> Seconds | None:
        return 0.0 if self.total else None

    def snapshot(self) -> int:
        return self.total

    def validate(self) -> None:
        pass


def test_a_machine_that_breaks_is_told_nothing_more_and_its_owner_hears_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        machine, said, broke = Counter(), list[int](), list[Exception]()
        live = Live(machine, {Add: lambda command: said.append(command.number)}, "counter", on_broken=broke.append)
        with caplog.at_level(logging.ERROR):
            live.tell(Add(0))
            live.tell(Add(1))
        assert live.broken and [type(error) for error in broke] == [ZeroDivisionError]
        assert said == [] and machine.told == 1
        (record,) = caplog.records
        assert record.exc_info is not None and "counter broke when it was told Add" in record.message

    asyncio.run(story())


def test_a_hand_that_fails_breaks_the_machine_and_what_still_waits_is_dropped() -> None:
    async def story() -> None:
        machine, broke = Counter(), list[Exception]()

        def obey(command: Add) -> None:
            live.tell(Add(2))  # waits for this one to be done
            raise KeyError(command.number)

        live = Live(machine, {Add: obey}, "counter", on_broken=broke.append)
        live.tell(Add(1))
        assert machine.told == 1 and isinstance(broke[0], KeyError)
        await asyncio.sleep(0)
        assert machine.told == 1, "no alarm rings for it any more"

    asyncio.run(story())


def test_a_machine_that_is_over_is_told_nothing_more() -> None:
    async def story() -> None:
        machine, said = Counter(), list[int]()
        live = Live(machine, {Add: lambda command: said.append(command.number)}, "counter", on_broken=print)
        live.tell(Add(1))
        live.close()
        live.tell(Add(2))
        await asyncio.sleep(0.01)
        assert said == [60] and machine.told == 1, "neither the event nor the alarm that was set"
        assert live.closed and not live.broken

    asyncio.run(story())
