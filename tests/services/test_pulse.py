"""What a worker says of its waiting: time that others had the cores, and not what its own quota took."""

import asyncio
import faulthandler
import os

import msgspec
import pytest

from cutwater.drivers.loop import run
from cutwater.drivers.refusals import Refusals
from cutwater.engine.stage.figures import StageSnapshot
from cutwater.services.workers import pulse
from cutwater.services.workers.pulse import Pulses
from cutwater.services.workers.setup import Pulse

NOTHING = StageSnapshot(queued=0, computing=0, ready=0, away=0, done=0, failed=0, late=0)


async def said(reading: int) -> Pulse:
    while True:
        try:
            lines = os.read(reading, 65536).splitlines()
        except BlockingIOError:
            await asyncio.sleep(0.001)
        else:
            return msgspec.json.decode(lines[-1], type=Pulse)


def test_waiting_for_a_core_counts_unless_the_own_quota_was_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_back = [0]
    monkeypatch.setattr(pulse, "PULSE", 0.01)
    monkeypatch.setattr(pulse, "throttled", lambda: held_back[0])
    found = [NOTHING]

    async def story() -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        Pulses(lambda: found[0], Refusals(), writing).start()
        found[0] = msgspec.structs.replace(NOTHING, computed=5, busy=0.5, waited=0.2)
        first = await said(reading)
        assert (first.served, first.spent, first.waited) == (5, 0.5, 0.2)
        held_back[0] = 7
        found[0] = msgspec.structs.replace(NOTHING, computed=9, busy=1.5, waited=1.0)
        second = await said(reading)
        assert (second.served, second.spent, second.waited) == (9, 1.5, 0.2)
        found[0] = msgspec.structs.replace(NOTHING, computed=10, busy=1.9, waited=1.3)
        third = await said(reading)
        assert (third.served, third.spent, third.waited) == (10, 1.9, 0.5)

    try:
        run(asyncio.wait_for(story(), 10))
    finally:
        faulthandler.cancel_dump_traceback_later()  # this process has no worker's loop to watch over
