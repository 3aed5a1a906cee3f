"""What a coordinator keeps on the fabric: read when it begins to lead, written as it decides.

Everything about who may write is here: a write names the revision it replaces, so that a coordinator which does not
know yet that it leads no more overwrites nothing its successor has written.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from cutwater.engine.facts.deployments import DeploymentRecord
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.facts.nodes import Announcement, MeasuredLink
from cutwater.errors import Conflict, FabricError, FabricLost
from cutwater.fabric.base import Entry, KeyValue
from cutwater.services.facts import BORN, STORED, encode, link_key, node_key, readable
from cutwater.units import NodeId, Seconds

T = TypeVar("T")
_log = logging.getLogger(__name__)
_WRITE_RETRY: Seconds = 0.2
"""Until a write is tried again that the fabric did not take."""


class Stored(msgspec.Struct, frozen=True):
    """The stage files that coordinators have put on the fabric and not removed yet."""

    blobs: tuple[str, ...]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known when a coordinator begins to lead."""

    models: tuple[ModelRecord, ...]
    deployments: tuple[DeploymentRecord, ...]
    nodes: tuple[Announcement, ...]
    """Without the revoked ones."""
    links: tuple[MeasuredLink, ...]
    draining: tuple[NodeId, ...]
    revoked: tuple[NodeId, ...]
    stored: tuple[str, ...]
    """Stage files that are on the fabric, or may be."""
    revisions: dict[str, int]
    """Key -> when it was last written."""


async def read_state(state: KeyValue) -> Known:
    """Everything there is that can be read. Raises FabricLost."""
    entries = await state.entries()
    revoked = _names(entries, "revoked.")
    nodes = [node for key, node in _all(entries, "node.", Announcement) if key == node_key(node.node)]
    links = [link for key, link in _all(entries, "link.", MeasuredLink) if key == link_key(link.source, link.target)]
    return Known(
        models=tuple(model for _, model in _all(entries, "model.", ModelRecord)),
        deployments=tuple(record for _, record in _all(entries, "deployment.", DeploymentRecord)),
        nodes=tuple(node for node in nodes if node.node not in revoked),
        links=tuple(links),
        draining=_names(entries, "drain."),
        revoked=revoked,
        stored=tuple(blob for _, stored in _all(entries, STORED, Stored) for blob in stored.blobs),
        revisions={key: entry.revision for key, entry in entries.items()},
    )


async def born(state: KeyValue) -> int:
    """When terms began to be counted in this store, in microseconds of the clock on the wall. Raises FabricError.

    A term is this and the revision of its lease: so terms also grow where the store was lost and another one, whose
    revisions begin at 1, took its place. (A store takes far less than one write in a microsecond.)
    """
    found = await state.get(BORN)
    known = None if found is None else readable(found, int)
    if known is None:
        known = time.time_ns() // 1000
        await state.put(BORN, encode(known))
    return known


def _all(entries: Mapping[str, Entry], prefix: str, kind: type[T]) -> Iterator[tuple[str, T]]:
    for key in sorted(entries):
        if key.startswith(prefix) and (fact := readable(entries[key], kind)) is not None:
            yield key, fact


def _names(entries: Mapping[str, Entry], prefix: str) -> tuple[NodeId, ...]:
    return tuple(NodeId(key.removeprefix(prefix)) for key in sorted(entries) if key.startswith(prefix))


OTHERS = ("node.", "link.")
"""What keys begin with that nodes write: whoever leads removes them, whichever revision they have come to."""


class Outbox:
    """Writes values under keys, one after the other; of several for one key that wait, only the newest.

    While the fabric is away they wait. Nothing is written any more after somebody else has changed one of the keys.
    """

    def __init__(self, state: KeyValue, revisions: Mapping[str, int], on_overtaken: Callable[[str], None]) -> None:
        """``on_overtaken`` is told, on the event loop, which key somebody else has written."""
        self._state = state
        self._revisions = dict(revisions)
        self._on_overtaken = on_overtaken
        self._waiting: OrderedDict[str, bytes | None] = OrderedDict()
        self._refused: dict[str, bytes | None] = {}
        """What the fabric does not take; tried again behind all others, until something newer replaces it."""
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, key: str, fact: msgspec.Struct | None, first: bool = False) -> None:
        """Have ``fact`` written; None: have the key deleted.

        With ``first`` it goes before all that waits: what a successor must know is there before anybody acts on it.
        """
        self._waiting[key] = None if fact is None else encode(fact)
        self._waiting.move_to_end(key, last=not first)
        self._empty.clear()
        self._more.set()

    async def written(self) -> None:
        """Wait until nothing waits but what the fabric does not take."""
        await self._empty.wait()

    async def run(self) -> None:
        """Write until cancelled, or overtaken."""
        while True:
            await self._more.wait()
            while self._waiting:
                key, value = next(iter(self._waiting.items()))
                try:
                    await self._write(key, value)
                except Conflict as error:
                    self._on_overtaken(str(error))
                    return
                except FabricLost:
                    await asyncio.sleep(_WRITE_RETRY)
                    continue
                except FabricError as error:  # such as one that is too large: the others must not wait for it
                    self._put_off(key, value, error)
                    await asyncio.sleep(_WRITE_RETRY)
                    continue
                self._refused.pop(key, None)
                if self._waiting.get(key) is value:  # nothing newer has come meanwhile
                    del self._waiting[key]
                self._see_whether_all_is_written()
            self._more.clear()

    def _put_off(self, key: str, value: bytes | None, error: FabricError) -> None:
        if key not in self._refused or self._refused[key] is not value:
            _log.error("%s is not written: %s", key, error)
        self._refused[key] = value
        if self._waiting.get(key) is value:
            self._waiting.move_to_end(key)
        self._see_whether_all_is_written()

    def _see_whether_all_is_written(self) -> None:
        if all(key in self._refused and self._refused[key] is value for key, value in self._waiting.items()):
            self._empty.set()

    async def _write(self, key: str, value: bytes | None) -> None:
        try:
            await self._replace(key, value)
        except Conflict:
            # It may have been our own write, whose confirmation was lost.
            found = await self._state.get(key)
            if (found.value if found is not None else None) != value:
                raise
            self._note(key, found.revision if found is not None else None)

    async def _replace(self, key: str, value: bytes | None) -> None:
        revision = self._revisions.get(key)
        if value is None:
            if key.startswith(OTHERS):
                await self._state.delete(key)
            elif revision is not None:
                await self._state.delete(key, revision)
            self._note(key, None)
        elif revision is None:
            self._note(key, await self._state.create(key, value))
        else:
            self._note(key, await self._state.update(key, value, revision))

    def _note(self, key: str, revision: int | None) -> None:
        if revision is None:
            self._revisions.pop(key, None)
        else:
            self._revisions[key] = revision
