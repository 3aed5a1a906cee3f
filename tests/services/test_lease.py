"""Leases: one holder at a time, who knows when he is none any more."""

import asyncio

import pytest
from fabric_bed import story

from cutwater.engine.facts.nodes import LEASE
from cutwater.errors import Refused
from cutwater.fabric.base import KeyValue
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.facts import encode
from cutwater.services.lease import Holder, Lease

pytestmark = pytest.mark.slow


class Office:
    """One who wants the lease, and what he was told of losing it."""

    def __init__(self, leases: KeyValue, name: str) -> None:
        self.losses: asyncio.Queue[str] = asyncio.Queue()
        self.lease = Lease(leases, "seat", Holder.here(name, name), self.losses.put_nowait)


@story
async def test_who_waits_gets_it_when_the_holder_lets_go() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        leases = await fabric.keys("leases", LEASE)
        first, second = Office(leases, "a"), Office(leases, "b")
        term = await first.lease.take()
        waiting = asyncio.create_task(second.lease.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        await first.lease.give_up()
        assert await waiting > term
        assert (first.lease.held, second.lease.held) == (False, True)
        assert first.losses.empty()


@story
async def test_a_holder_who_is_cut_off_knows_before_another_can_have_it() -> None:
    server = MemoryServer()
    async with MemoryFabric(server) as fabric:
        leases = await fabric.keys("leases", LEASE)
        office = Office(leases, "a")
        await office.lease.take()
        server.go_down()
        assert "the fabric is away" in await office.losses.get()
        assert "seat" in server.buckets["leases"].values
        assert not office.lease.held
        server.come_back()
        assert await office.lease.take()  # what he wrote himself does not keep him out


@story
async def test_a_holder_who_was_overtaken_is_told() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        leases = await fabric.keys("leases", LEASE)
        office = Office(leases, "a")
        await office.lease.take()
        await leases.put("seat", encode(Holder.here("b", "b")))
        assert "somebody else holds" in await office.losses.get()


@story
async def test_a_second_one_is_refused_while_the_first_lives_and_let_in_after_its_death() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        leases = await fabric.keys("offices", LEASE)
        first, second = Office(leases, "a"), Office(leases, "b")
        await first.lease.take_or_refuse()
        with pytest.raises(Refused, match=r"'b' runs already \(process \d+ on "):
            await asyncio.wait_for(second.lease.take_or_refuse(), 10)
        await first.lease.give_up()
        await leases.create("seat", encode(Holder.here("dead", "c")))  # and never renewed
        await second.lease.take_or_refuse()
        assert second.lease.held
        await second.lease.give_up()


@story
async def test_who_finds_something_unreadable_in_his_place_knows_that_he_has_lost_it() -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        leases = await fabric.keys("leases", LEASE)
        office = Office(leases, "a")
        await office.lease.take()
        await leases.put("seat", b"\xc1 nothing")
        assert "somebody else holds the lease" in await office.losses.get()
        assert not office.lease.held
        assert await office.lease.take()  # once it has run out
        await office.lease.give_up()
