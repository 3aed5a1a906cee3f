"""Outcome: what came of one request; and the outcomes of many, in the order of asking."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping

import msgspec

from cutwater.errors import CutwaterError
from cutwater.frameworks.base import Array
from cutwater.units import Seconds
from cutwater.wire.message import Mark

Feeds = Mapping[str, Array]


class Outcome(msgspec.Struct, frozen=True):
    """What came of one request that has a result."""

    outputs: dict[str, Array]
    latency: Seconds
    """From asking to having the outputs, packing and unpacking included."""
    trail: tuple[Mark, ...]
    """What each stage did with it, first stage first."""
    request: str = ""
    """What the gateway calls it."""
    degraded: bool = False
    """Whether the gateway answered by itself, because nobody else was left."""


async def in_order(
    infer: Callable[[Feeds], Awaitable[Outcome]],
    feeds: Iterable[Feeds | CutwaterError] | AsyncIterable[Feeds | CutwaterError],
    limit: int,
) -> AsyncIterator[Outcome | CutwaterError]:
    """The outcomes of many requests, in their order; an error is one request's outcome, and the others go on.

    An error among the feeds (an input that could not be read) is its own outcome.
    At most ``limit`` requests are open or waiting to be taken by the caller.
    """

    async def outcome(feed: Feeds | CutwaterError) -> Outcome | CutwaterError:
        if isinstance(feed, CutwaterError):
            return feed
        try:
            return await infer(feed)
        except CutwaterError as error:
            return error

    open_: deque[asyncio.Task[Outcome | CutwaterError]] = deque()
    try:
        async for feed in _each(feeds):
            open_.append(asyncio.create_task(outcome(feed)))
            if len(open_) >= limit:
                yield await open_.popleft()
        while open_:
            yield await open_.popleft()
    finally:
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


async def _each(
    feeds: Iterable[Feeds | CutwaterError] | AsyncIterable[Feeds | CutwaterError],
) -> AsyncIterator[Feeds | CutwaterError]:
    if isinstance(feeds, AsyncIterable):
        async for feed in feeds:
            yield feed
    else:
        for feed in feeds:
            yield feed
