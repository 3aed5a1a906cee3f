"""What a link is like: how long a word takes there and back, how many bytes it carries, what sending costs this end."""

import asyncio
import statistics
import time

import msgspec

from cutwater.drivers.connect import dial
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.tls import TlsFiles
from cutwater.profile.profile import FrameCost, Sample
from cutwater.wire.message import PROTOCOL, Address, Hello, Message

_WORDS = 200
_WARM = 20
_BULK = 1024 * 1024
_AT_ONCE = 4


class LinkSample(msgspec.Struct, frozen=True, kw_only=True):
    """A measured link."""

    round_trip: Sample
    """Seconds for an empty frame to go and be answered."""
    bandwidth: float
    """Bytes per second in the direction away from here, with several large frames under way."""
    send: FrameCost
    """CPU of this end's process for a frame sent and a word received back."""


async def measure_link(
    address: Address, deployment: str, *, tls: TlsFiles | None = None, nbytes: int = 64 * _BULK, words: int = _WORDS
) -> LinkSample:
    """Measure the link to a worker, which need not be idle but is disturbed.

    Args:
        address: where the worker listens.
        deployment: the token it wants to see.
        tls: for a link between machines.
        nbytes: how much to send for the bandwidth.
        words: how many empty frames to send for the round trip, at least 2.

    Raises:
        LinkLost, Refused, InputError: as `dial`; LinkLost also if the link breaks while it is measured.
    """
    link = await dial(address, Hello(PROTOCOL, deployment, "measure", 0, _BULK), _Silent(), tls)
    assert link.peer is not None
    try:
        for _ in range(min(_WARM, words)):
            await link.ping()
        busy = time.process_time()
        times = [await link.ping() for _ in range(words)]
        fixed = (time.process_time() - busy) / words
        pad = min(_BULK, link.peer.max_frame // 2)
        frames = max(nbytes // pad, _AT_ONCE)
        began, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_bulk(link, pad, frames // _AT_ONCE) for _ in range(_AT_ONCE)))
        elapsed, busy = time.perf_counter() - began, time.process_time() - busy
    finally:
        link.close()
    frames = frames // _AT_ONCE * _AT_ONCE
    low, median, high = statistics.quantiles(times, n=4)
    return LinkSample(
        round_trip=Sample(median, high - low, words),
        bandwidth=frames * pad / elapsed,
        send=FrameCost(fixed=fixed, per_byte=max(busy - frames * fixed, 0.0) / (frames * pad)),
    )


async def _bulk(link: Link, pad: int, frames: int) -> None:
    for _ in range(frames):
        await link.ping(pad)


class _Silent:
    """An owner who only pings."""

    def __init__(self) -> None:
        self.cork = Cork()

    def opened(self, link: Link) -> None:
        """See `Owner.opened`."""

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`."""

    def lost(self, link: Link, reason: str) -> None:
        """See `Owner.lost`."""

    def paused(self, link: Link) -> None:
        """See `Owner.paused`."""

    def resumed(self, link: Link) -> None:
        """See `Owner.resumed`."""
