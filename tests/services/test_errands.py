"""What goes on beside somebody's work fails loudly, and ends when it is given up."""

import asyncio
import logging

import pytest

from cutwater.services.errands import Errands, until


def test_a_failure_is_logged_and_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        told: asyncio.Queue[BaseException] = asyncio.Queue()
        errands = Errands("the miller", told.put_nowait)

        async def fail() -> None:
            raise ValueError("no corn")

        waiting = errands.begin(asyncio.Event().wait())  # type: ignore[arg-type]
        errands.begin(fail())
        assert str(await told.get()) == "no corn"
        assert not waiting.done()
        await errands.end()
        assert waiting.cancelled() and told.empty()

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert [record.message for record in caplog.records] == ["something of the miller failed"]


def test_who_serves_until_asked_to_stop_ends_with_what_failed() -> None:
    async def story() -> None:
        stop, over = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(until(stop, over))
        await asyncio.sleep(0)
        assert not serving.done()
        over.set_exception(ValueError("no corn"))
        with pytest.raises(ValueError, match="no corn"):
            await serving
        stop.set()
        await until(stop, asyncio.get_running_loop().create_future())

    asyncio.run(story())
