"""Shelf: the stage files on the fabric: put there when a blueprint needs them, removed when none has for a while.

What is put there stands in a list in the state before it comes, so that a successor knows what may have to go.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import Blueprint, DeploymentRecord
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import CutwaterError
from cutwater.fabric.base import Blobs
from cutwater.services.cache import BlobCache
from cutwater.services.coordinator.state import Outbox, Stored
from cutwater.services.facts import STORED
from cutwater.units import Seconds

GRACE: Seconds = 300.0
"""A stage file that nothing has referred to for so long is removed: a plan that comes back finds it still there."""
ROUND: Seconds = 30.0
"""Between two looks."""
_log = logging.getLogger(__name__)


class Shelf:
    """One coordinator's, for its term."""

    def __init__(
        self, blobs: Blobs, cache: BlobCache, outbox: Outbox, stored: Iterable[str], used: Callable[[], set[str]]
    ) -> None:
        """``stored``: the list of the predecessor; ``used`` says which blobs models and deployments refer to."""
        self._blobs = blobs
        self._cache = cache
        self._outbox = outbox
        self._used = used
        self._listed = dict.fromkeys(stored)
        self._there: set[str] = set()
        """What this coordinator has put, or seen, on the fabric."""
        self._held: Counter[str] = Counter()
        """Of plans that no deployment refers to yet."""
        self._unused: dict[str, Seconds] = {}
        """What nothing refers to, and since when."""
        self._turn = asyncio.Lock()
        """Nothing is put while something is removed: it might be the same."""

    @contextmanager
    def keep(self, blueprint: Blueprint) -> Iterator[None]:
        """While inside, its files stay, though no deployment refers to them yet."""
        files = set(stage_files(blueprint))
        self._held.update(files)
        try:
            yield
        finally:
            self._held.subtract(files)

    async def put(self, blueprint: Blueprint) -> None:
        """Put there what nodes and gateways will fetch. Raises FabricLost."""
        files = set(stage_files(blueprint))
        if not files <= self._listed.keys():
            self._listed.update(dict.fromkeys(sorted(files)))
            self._write()
            await self._outbox.written()
        async with self._turn:
            with self._cache.hold(*files):
                for blob in sorted(files - self._there):
                    await self._blobs.put(self._cache.path(blob))
                    self._there.add(blob)
                self._cache.trim()

    def doubt(self) -> None:
        """Something went wrong: look for each file again before the next blueprint counts on it."""
        self._there.clear()

    async def tend(self) -> None:
        """Remove what is not used any more, until cancelled."""
        while True:
            await asyncio.sleep(ROUND)
            try:
                await self.tidy(clock())
            except CutwaterError as error:
                _log.warning("stage files that nothing uses stay for now: %s", error)

    async def tidy(self, now: Seconds) -> None:
        """Remove what has not been used for `GRACE`. Raises FabricLost."""
        used = self._used()
        idle = [blob for blob in self._listed if blob not in used and not self._held[blob]]
        self._unused = {blob: self._unused.get(blob, now) for blob in idle}
        for blob in [blob for blob, since in self._unused.items() if now - since >= GRACE]:
            async with self._turn:
                if self._held[blob] or blob in self._used():
                    continue
                self._there.discard(blob)
                await self._blobs.delete(blob)
                del self._listed[blob]
                _log.info("the stage file %s is removed, nothing uses it", blob)
            self._write()

    def _write(self) -> None:
        self._outbox.put(STORED, Stored(tuple(self._listed)))


def stage_files(blueprint: Blueprint) -> Iterator[str]:
    """The blobs that a blueprint refers to."""
    for chain in blueprint.chains:
        yield from (part.blob for part in chain.parts)
    if blueprint.whole is not None:
        yield blueprint.whole.part.blob


def used_files(models: Iterable[ModelRecord], deployments: Iterable[DeploymentRecord]) -> set[str]:
    """All blobs that somebody may still ask for."""
    found = {blob for model in models for blob in (model.blob, model.profile)}
    for record in deployments:
        for epoch in record.epochs:
            found.update(stage_files(epoch.blueprint))
    return found
