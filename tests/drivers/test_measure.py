"""Measuring a link gives numbers that can be true."""

from pathlib import Path

import pytest

from cutwater.drivers.connect import listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.loop import run
from cutwater.drivers.measure import measure_link
from cutwater.errors import LinkLost
from cutwater.wire.message import PROTOCOL, Hello, Message


class Worker:
    """The other end; pings are answered below it."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.losses: list[str] = []

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None: ...

    def lost(self, link: Link, reason: str) -> None:
        self.losses.append(reason)

    def paused(self, link: Link) -> None: ...

    def resumed(self, link: Link) -> None: ...


@pytest.mark.parametrize("max_frame", [100_000, 8_000_000])
def test_a_link_has_a_round_trip_a_bandwidth_and_a_price(tmp_path: Path, max_frame: int) -> None:
    async def story() -> None:
        listener = await listen(f"unix:{tmp_path}/s", Hello(PROTOCOL, "d1", "stage-1", 4, max_frame), Worker())
        sample = await measure_link(listener.address, "d1", nbytes=4_000_000)
        assert 0 < sample.round_trip.median < 1
        assert sample.bandwidth > 1e6
        assert 0 < sample.send.fixed < 1 and 0 <= sample.send.per_byte < 1e-6
        listener.close()

    run(story())


def test_nobody_to_measure_is_a_lost_link(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(LinkLost, match="no connection"):
            await measure_link(f"unix:{tmp_path}/none", "d1")

    run(story())
