"""Where loads are tried: a server of this process whose models stall, and a loop whose time is made up."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from two_x import TwoX

from cutwater.api.backend import Answered, Ask
from cutwater.client.transport import Glance
from cutwater.drivers.live import clock

T = TypeVar("T")


class Stalling(TwoX):
    """Answers the first ones, then nobody until so many have been asked."""

    def __init__(self, first: int, until: int) -> None:
        super().__init__()
        self.first, self.until = first, until
        self.on_asked: Callable[[int], None] = lambda count: None
        self.opened = 0.0
        """When it went on, on the clock of this machine."""
        self._gate = asyncio.Event()

    async def infer(self, ask: Ask) -> Answered:
        count = len(self.asked) + 1
        self.on_asked(count)
        if count == self.until:
            self.opened = clock()
            self._gate.set()
        answered = await super().infer(ask)
        if self.first < count:
            await self._gate.wait()
        return answered


class Queueing(TwoX):
    """Computes one request after the other, each for as long, whether anybody still waits for it or not."""

    def __init__(self, service: float) -> None:
        super().__init__()
        self._service, self._free = service, 0.0

    async def infer(self, ask: Ask) -> Answered:
        self._free = max(self._free, clock()) + self._service
        await asyncio.sleep(self._free - clock())
        return await super().infer(ask)


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: time jumps to when something is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class _Made(asyncio.SelectorEventLoop):
    """A loop in made-up time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_made_up_time(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=_Made) as runner:
        return runner.run(story())


class Server:
    """Computes one request after the other, each for as long."""

    def __init__(self, service: float) -> None:
        self.service = service
        self._free = 0.0

    def prepared(self) -> Awaitable[Glance]:
        return self._answer()

    async def _answer(self) -> Glance:
        loop = asyncio.get_running_loop()
        self._free = max(self._free, loop.time()) + self.service
        await asyncio.sleep(self._free - loop.time())
        return Glance()
