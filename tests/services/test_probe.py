"""A probe goes over every worker, in as few requests as that takes, and leaves nothing behind."""

import asyncio
from itertools import product
from pathlib import Path

import pytest

from cutwater.drivers.connect import dial, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.gateway import LiveGateway
from cutwater.drivers.links import Link
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.vocabulary import Route
from cutwater.errors import LinkLost, Refused, WorkerLost
from cutwater.services.gateway.probe import covering
from cutwater.wire.message import PROTOCOL, Hello, Hop, Message


def route(*addresses: str, chain: int = 0, spare: bool = False) -> Route:
    return Route(tuple(Hop(address, "plain") for address in addresses), chain=chain, spare=spare)


def over(routes: list[Route]) -> set[tuple[int, str]]:
    return {(route.chain, hop.address) for route in routes for hop in route.hops}


def test_every_worker_of_every_chain_is_seen() -> None:
    routes = [route(*way) for way in product("ab", "cde", "f")]
    routes += [route(*way, chain=1) for way in product("g", "hi")]
    chosen = covering(routes)
    assert over(chosen) == over(routes)
    assert len(chosen) <= 6


def test_spares_are_seen_too_and_normal_ways_come_first() -> None:
    normal, spare = route("a", "b"), route("a", "s", spare=True)
    assert covering([spare, normal]) == [normal, spare]


def test_where_there_is_no_way_there_is_nothing_to_see() -> None:
    assert covering([]) == []


class Door:
    """Takes links in and counts them."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.came: asyncio.Queue[Link] = asyncio.Queue()
        self.gone: asyncio.Queue[str] = asyncio.Queue()

    def opened(self, link: Link) -> None:
        self.came.put_nowait(link)

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        pass

    def lost(self, link: Link, reason: str) -> None:
        self.gone.put_nowait(reason)

    def paused(self, link: Link) -> None:
        pass

    def resumed(self, link: Link) -> None:
        pass


def test_a_gateway_that_was_closed_dials_nobody_again_and_answers_who_still_waits(tmp_path: Path) -> None:
    async def story() -> None:
        door, hello = Door(), Hello(PROTOCOL, "d", "gateway", 8, 2**20)
        listener = await listen(f"unix:{tmp_path}/s", hello, door)
        gateway = LiveGateway(Gateway(), hello)
        gateway.reroute([route(listener.address)], {})
        waiting = asyncio.create_task(gateway.ask({}, 30.0))
        async with asyncio.timeout(10.0):
            await door.came.get()
            gateway.close()
            await door.gone.get()
        with pytest.raises(WorkerLost, match="may be sent again"):
            await waiting
        with pytest.raises(Refused, match="has drained"):
            await gateway.ask({}, 30.0)
        await asyncio.sleep(0.5)  # a lost link would be dialled again after a tenth of a second
        assert door.came.empty()
        listener.close()

    asyncio.run(story())


def test_a_link_that_comes_about_after_the_end_is_let_go(tmp_path: Path) -> None:
    async def story() -> None:
        door, hello = Door(), Hello(PROTOCOL, "d", "gateway", 8, 2**20)
        listener = await listen(f"unix:{tmp_path}/s", hello, door)
        gateway = LiveGateway(Gateway(), hello)
        gateway.close()
        async with asyncio.timeout(10.0):
            link = await dial(listener.address, hello, gateway)  # as one that was under way
            await door.came.get()
            await door.gone.get()
        with pytest.raises(LinkLost):
            await link.ping()
        listener.close()

    asyncio.run(story())
