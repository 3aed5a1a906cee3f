"""A request that is sent again under its id is computed once, whoever of its senders waits, goes, or had less time."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from cutwater.api.backend import Answered, Ask
from cutwater.errors import DeadlineExceeded, StageFailed
from cutwater.services.front.repeats import EACH, KEPT, ROOM, SMALL, Repeats, digest
from cutwater.units import Seconds

ASK = Ask("m", {"x": np.arange(4, dtype=np.float32)}, client="http:c", id="a")


class Stage:
    """Computes one request at a time, when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.withdrawn = 0
        self.answer: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()

    async def compute(self, ask: Ask) -> Answered:
        self.asked.append(ask)
        try:
            output = await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.withdrawn += 1
            raise
        return Answered(f"request-{len(self.asked)}", {"y": output}, (), False)


class World:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now: Seconds = 0.0
        self.repeats = Repeats(lambda: self.now)
        self.stage = Stage()

    def send(self, ask: Ask = ASK, version: str = "") -> asyncio.Task[Answered]:
        return asyncio.create_task(self.repeats.once(ask, self.stage.compute, version))

    @property
    def held(self) -> int:
        """Bytes of answers that are kept."""
        return self.repeats._held

    @property
    def open(self) -> int:
        return len(self.repeats._open)


def tell(story: Callable[[World], Awaitable[None]]) -> None:
    async def telling() -> None:
        await story(World())

    asyncio.run(telling())


async def turn() -> None:
    """Everybody who can go on does."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_two_who_ask_the_same_share_one_request() -> None:
    async def story(world: World) -> None:
        first, second = world.send(), world.send()
        await turn()
        world.stage.answer.set_result(np.ones(2))
        assert (await first).request == (await second).request == "request-1"
        assert (await world.send()).request == "request-1"  # and later is given the answer again
        assert len(world.stage.asked) == 1
        assert not world.open

    tell(story)


@pytest.mark.parametrize(
    "other",
    [
        ASK._replace(id="b"),
        ASK._replace(client="http:d"),
        ASK._replace(model="n"),
        ASK._replace(feeds={"x": np.zeros(4, np.float32)}),
        ASK._replace(id=""),
    ],
)
def test_another_id_client_model_or_content_is_another_request(other: Ask) -> None:
    async def story(world: World) -> None:
        world.stage.answer.set_result(np.ones(2))
        await world.send()
        await world.send(other)
        assert len(world.stage.asked) == 2

    tell(story)


def test_a_model_that_was_replaced_answers_itself() -> None:
    async def story(world: World) -> None:
        world.stage.answer.set_result(np.ones(2))
        await world.send(version="old")
        assert (await world.send(version="new")).request == "request-2"

    tell(story)


def test_who_goes_leaves_the_request_to_the_other() -> None:
    async def story(world: World) -> None:
        first, second = world.send(), world.send()
        await turn()
        first.cancel()
        await turn()
        assert first.cancelled()
        assert world.stage.withdrawn == 0
        world.stage.answer.set_result(np.ones(2))
        assert (await second).request == "request-1"

    tell(story)


@pytest.mark.parametrize("together", [True, False])
def test_when_the_last_one_goes_the_request_is_withdrawn(together: bool) -> None:
    async def story(world: World) -> None:
        both = [world.send(), world.send()]
        await turn()
        for each in both:
            each.cancel()
            if not together:
                await turn()
        await turn()
        assert (world.stage.withdrawn, world.open) == (1, 0)
        world.stage.answer.set_result(np.ones(2))
        assert (await world.send()).request == "request-2"  # nobody joins what was withdrawn

    tell(story)


def test_who_goes_before_anything_began_leaves_nothing_behind() -> None:
    async def story(world: World) -> None:
        early = world.send()
        early.cancel()
        await turn()
        sent = world.send()
        await asyncio.sleep(0)  # it waits for a request that has not begun yet
        assert (world.stage.asked, world.open) == ([], 1)
        sent.cancel()
        await turn()
        assert sent.cancelled()
        assert (world.stage.withdrawn, world.open, world.held) == (len(world.stage.asked), 0, 0)

    tell(story)


def test_an_error_is_everybodys_and_is_not_kept() -> None:
    async def story(world: World) -> None:
        first, second = world.send(), world.send()
        await turn()
        world.stage.answer.set_exception(StageFailed("it broke"))
        for each in (first, second):
            with pytest.raises(StageFailed, match="it broke"):
                await each
        world.stage = Stage()
        world.stage.answer.set_result(np.ones(2))
        assert (await world.send()).request == "request-1"

    tell(story)


def test_an_error_whose_clients_have_gone_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        sent = world.send()
        await turn()
        world.stage.answer.set_exception(StageFailed("it broke"))
        sent.cancel()
        await turn()

    tell(story)
    assert "never retrieved" not in caplog.text


def test_who_joins_waits_no_longer_than_it_said() -> None:
    async def story(world: World) -> None:
        patient = world.send()
        await turn()
        hasty = world.send(ASK._replace(timeout=0.01))
        await turn()
        world.now = 0.01
        with pytest.raises(DeadlineExceeded, match="'a'"):
            await hasty
        world.stage.answer.set_result(np.ones(2))
        assert (await patient).request == "request-1"

    tell(story)


def test_who_has_more_time_than_the_one_it_joined_uses_it() -> None:
    async def story(world: World) -> None:
        hasty, patient = world.send(ASK._replace(timeout=1.0)), world.send(ASK._replace(timeout=5.0))
        await turn()
        world.now = 1.0
        world.stage.answer.set_exception(DeadlineExceeded("too late"))
        world.stage.answer = asyncio.get_running_loop().create_future()
        with pytest.raises(DeadlineExceeded, match="too late"):
            await hasty
        world.stage.answer.set_result(np.ones(2))
        assert (await patient).request == "request-2"
        assert [ask.timeout for ask in world.stage.asked] == [1.0, 4.0]

    tell(story)


def test_time_that_counts_from_the_first_byte_is_not_taken_off_twice() -> None:
    async def story(world: World) -> None:
        world.now = 10.5
        arrived = ASK._replace(since=10.0)
        hasty, patient = world.send(arrived._replace(timeout=1.0)), world.send(arrived._replace(timeout=5.0))
        await turn()
        world.now = 11.0
        world.stage.answer.set_exception(DeadlineExceeded("too late"))
        world.stage.answer = asyncio.get_running_loop().create_future()
        with pytest.raises(DeadlineExceeded, match="too late"):
            await hasty
        world.stage.answer.set_result(np.ones(2))
        assert (await patient).request == "request-2"
        assert [(ask.timeout, ask.since) for ask in world.stage.asked] == [(1.0, 10.0), (4.0, 11.0)]

    tell(story)


def test_time_that_is_the_models_own_is_not_given_anew_at_each_try() -> None:
    async def story(world: World) -> None:
        world.now = 10.5
        first, second = (world.send(ASK._replace(since=since)) for since in (10.0, 10.2))
        await turn()
        world.now = 70.0
        world.stage.answer.set_exception(DeadlineExceeded("too late"))
        world.stage.answer = asyncio.get_running_loop().create_future()
        with pytest.raises(DeadlineExceeded, match="too late"):
            await first
        world.stage.answer.set_result(np.ones(2))
        await second
        assert [(ask.timeout, ask.since) for ask in world.stage.asked] == [(None, 10.0), (None, 10.2)]

    tell(story)


def test_an_answer_is_forgotten_after_a_while() -> None:
    async def story(world: World) -> None:
        world.stage.answer.set_result(np.ones(2))
        await world.send()
        world.now = KEPT
        assert (await world.send()).request == "request-2"

    tell(story)


def test_the_oldest_answers_make_room_however_small_they_are() -> None:
    async def story(world: World) -> None:
        world.stage.answer.set_result(np.ones(1, np.uint8))
        for number in range(ROOM // EACH + 10):
            await world.repeats.once(ASK._replace(id=f"{number}", feeds={}), world.stage.compute)
        assert world.held <= ROOM
        assert len(world.repeats._kept) < ROOM // EACH

    tell(story)


def test_an_answer_that_is_kept_keeps_nothing_it_arrived_in() -> None:
    async def story(world: World) -> None:
        frame = np.ones(2**20, np.uint8)
        world.stage.answer.set_result(frame[:8])
        await world.send()
        again = (await world.send()).outputs["y"]
        assert not np.shares_memory(again, frame)
        assert world.held == EACH + 8

    tell(story)


def test_texts_are_the_same_by_what_they_say() -> None:
    def texts(*said: bytes) -> Ask:
        array = np.empty(len(said), object)
        array[:] = [bytes(bytearray(each)) for each in said]  # each a new object
        return ASK._replace(feeds={"x": array})

    assert digest(texts(b"goose", b"duck")) == digest(texts(b"goose", b"duck"))
    assert digest(texts(b"goose", b"duck")) != digest(texts(b"gooseduck", b""))
    kept = np.empty(1, object)
    kept[0] = held = bytearray(b"goose")
    before = digest(ASK._replace(feeds={"x": kept}))
    held[:] = b"ducks"  # at the same address
    assert digest(ASK._replace(feeds={"x": kept})) != before


def test_large_inputs_are_looked_at_beside_the_event_loop() -> None:
    async def story(world: World) -> None:
        world.stage.answer.set_result(np.ones(2))
        large = ASK._replace(feeds={"x": np.zeros(SMALL + 1, np.uint8)})
        assert (await world.send(large)).request == (await world.send(large)).request == "request-1"
        gone = world.send(large._replace(id="gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await turn()
        assert gone.cancelled()
        assert (len(world.stage.asked), world.open) == (1, 0)

    tell(story)
