"""Probe: one request of zeros over every worker of an epoch, before anybody's request goes there."""

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import count

from cutwater.drivers.gateway import LiveGateway
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.facts.gateways import EpochTable
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.vocabulary import Route
from cutwater.errors import InputError, StageFailed
from cutwater.services.workers.doors import doors_of
from cutwater.units import RequestId, Seconds
from cutwater.wire.message import Hello


async def probe(
    table: EpochTable,
    hello: Hello,
    ids: "count[int]",
    limit: Seconds,
    tls: TlsFiles | None = None,
    memory: int = MEMORY,
) -> None:
    """Return when each chain has answered over each of its workers.

    Args:
        table: the epoch.
        hello: how workers are greeted; the epoch's token takes the place of its ``deployment``.
        ids: where the requests' ids come from.
        limit: time for each request, dialling included.
        tls, memory: as for `dial`.

    Raises:
        CutwaterError: why a way does not answer.
        DeadlineExceeded: a way did not answer in time; says what it waited for.
    """
    doors = doors_of(table)
    ways = covering(table.routes)
    missing = {chain for _, chain in doors} - {route.chain for route in ways}
    if missing:
        raise StageFailed(f"no way leads through chain {min(missing)} of epoch {table.epoch}")

    async def see_through(route: Route) -> None:
        live = LiveGateway(Gateway(), hello, tls=tls, memory=memory)
        try:
            live.reroute([route], doors, {table.epoch: table.token})
            # A stage whose values steer it may not take zeros; that it answers is what counts here.
            with contextlib.suppress(StageFailed, InputError):
                zeros = doors[table.epoch, route.chain].zeros()
                await live.ask(zeros, limit, RequestId(next(ids)))
        finally:
            live.close()

    tasks = [asyncio.create_task(see_through(route)) for route in ways]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def covering(routes: Sequence[Route]) -> list[Route]:
    """Few of the routes that together lead over every worker of all of them."""
    left = {(route.chain, hop.address) for route in routes for hop in route.hops}
    chosen: list[Route] = []
    for route in sorted(routes, key=lambda route: route.spare):
        over = {(route.chain, hop.address) for hop in route.hops}
        if over & left:
            chosen.append(route)
            left -= over
    return chosen
