"""Shared memory between the two ends of a Unix socket: payloads lie there once, the socket carries the rest.

Each end writes into memory of its own, which has no name and is gone with the last process that maps it. The other end
opens it by way of /proc, maps it read-only, and hands out views; a place is free again when its last view is gone. The
word for that travels with whatever is sent next: no one is woken for it, and without room payloads travel in the frame.
"""

import contextlib
import fcntl
import mmap
import os
import socket
import struct
import sys
import weakref
from collections import deque
from collections.abc import Sequence

import numpy as np

from cutwater.errors import FrameError
from cutwater.wire.arena import PAGE, Arena
from cutwater.wire.codecs.base import Buffer
from cutwater.wire.message import Release, Share

SHARED = 128 * 1024
"""Bytes of a frame from which its payload is shared. Through three stages and back, one request at a time, sharing
costs 0.09 ms more CPU at 64 KB, nothing at 200 KB, and saves 1.0 of 2.9 ms at 784 KB."""
MEMORY = 64 * 2**20
"""Bytes of each direction of a link, unless told otherwise; those that were never in use at once take no memory."""
_CREDENTIALS = struct.Struct("3i")


class Lent:
    """Memory that this end writes and the other reads. Made by `lend`."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        self.offer = Share(descriptor, nbytes)
        """What the other end must be told."""
        self._arena = Arena(nbytes)
        self._bytes = np.frombuffer(mmap.mmap(descriptor, nbytes), np.uint8)
        self._taken = False

    def write(self, payload: Sequence[Buffer]) -> int | None:
        """Where the payload's parts lie now, one after the other; None if the other end is not ready or no room."""
        if not self._taken:
            return None
        place = self._arena.take(sum(map(len, payload)))
        if place is None:
            return None
        start = place
        for part in payload:
            stop = start + len(part)
            self._bytes[start:stop] = np.frombuffer(part, np.uint8)
            start = stop
        return place

    def released(self, release: Release) -> None:
        """The other end has opened this, or does not need some places any more. Raises FrameError."""
        self._taken = True
        for place in release.places:
            self._arena.give_back(place)

    def close(self) -> None:
        """The other end is gone."""
        os.close(self.offer.descriptor)


class Borrowed:
    """Memory that the other end writes and this one reads. Made by `borrow`."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._views: dict[int, weakref.ref[np.ndarray[tuple[int], np.dtype[np.uint8]]]] = {}
        self._done: deque[int] = deque()
        """Places without views. Filled in whichever thread drops the last one."""

    def view(self, place: int, nbytes: int) -> memoryview:
        """What lies at ``place``, which is in use for as long as this or a view of it is referenced; also after the
        link's end. Raises FrameError for a place beyond the memory, or one that was never given back."""
        if place % PAGE or nbytes <= 0 or not 0 <= place <= len(self._mapping) - nbytes:
            raise FrameError(f"{nbytes} bytes at {place} are no place in {len(self._mapping)} bytes of shared memory")
        if place in self._views:
            raise FrameError(f"place {place} of the shared memory is written again while it is in use")
        root = np.frombuffer(self._mapping, np.uint8, nbytes, place)
        done = self._done
        self._views[place] = weakref.ref(root, lambda _: done.append(place))
        return root.data

    def release(self) -> Release | None:
        """The places that are free again since the last call, if any."""
        places = []
        while self._done:
            places.append(self._done.popleft())
            del self._views[places[-1]]
        return Release(tuple(places)) if places else None


def lend(nbytes: int) -> Lent | None:
    """New memory of ``nbytes``, rounded down to pages; None where the system has none that can be shared this way."""
    nbytes -= nbytes % mmap.PAGESIZE
    if sys.platform != "linux" or not nbytes:
        return None
    with contextlib.suppress(OSError):
        descriptor = os.memfd_create("cutwater", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, nbytes)
            # Who maps it must be able to rely on its size: reading beyond the end of a file kills the reader.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return Lent(descriptor, nbytes)
        except OSError:
            os.close(descriptor)
    return None


def borrow(offer: Share, sock: socket.socket) -> Borrowed | None:
    """The memory the process at the other end of ``sock`` offers; None if this one may not open it, or it may shrink.

    The system says which process that is. Another's memory cannot be named, nor one the other end could not open.
    """
    if sys.platform != "linux":
        return None
    try:
        pid, _, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        descriptor = os.open(f"/proc/{pid}/fd/{offer.descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        if not sealed or os.fstat(descriptor).st_size < offer.nbytes or not offer.nbytes:
            return None
        return Borrowed(mmap.mmap(descriptor, offer.nbytes, mmap.MAP_SHARED, mmap.PROT_READ))
    except (OSError, ValueError, OverflowError):  # no memory file, or more than this process can map
        return None
    finally:
        os.close(descriptor)
