"""Picture: the cluster as its coordinator sees it, kept here so that nobody waits for it."""

import asyncio
import logging
from collections.abc import Mapping

from cutwater.drivers.live import clock
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import CutwaterError
from cutwater.fabric.base import Fabric
from cutwater.services.asking import ClusterStatus, DeploymentStatus, GetStatus, ask_coordinator
from cutwater.units import Seconds

CALM: Seconds = 2.0
"""How old it may become while nobody looks."""
WATCHED: Seconds = 0.5
"""How old it may become while somebody does."""

_log = logging.getLogger(__name__)


class Picture:
    """Renewed in the background; what was seen last stays while no coordinator answers."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.status: ClusterStatus | None = None
        """None: nobody has answered yet."""
        self.models: Mapping[str, ModelRecord] = {}
        self.deployments: Mapping[str, DeploymentStatus] = {}
        self._at: Seconds = 0.0
        self._watchers = 0
        self._hurry = asyncio.Event()
        self._renewed = asyncio.Condition()

    @property
    def age(self) -> Seconds:
        """Since it was renewed last."""
        return clock() - self._at

    async def keep(self) -> None:
        """Renew it, for ever."""
        while True:
            self._hurry.clear()
            try:
                await self._renew()
            except CutwaterError as error:
                _log.debug("the picture of the cluster is %.1f s old: %s", self.age, error)
            try:
                async with asyncio.timeout(WATCHED if self._watchers else CALM):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def fresh(self) -> "Picture":
        """The picture as it is after this call. Raises CutwaterError if no coordinator answers."""
        await self._renew()
        return self

    async def next(self) -> "Picture":
        """Once it was renewed."""
        async with self._renewed:
            await self._renewed.wait()
        return self

    def __enter__(self) -> "Picture":
        """Somebody looks."""
        self._watchers += 1
        self._hurry.set()
        return self

    def __exit__(self, *exc: object) -> None:
        """And looks no more."""
        self._watchers -= 1

    async def _renew(self) -> None:
        status = await ask_coordinator(self._fabric, GetStatus(), ClusterStatus)
        async with self._renewed:
            self.status = status
            self.models = {record.name: record for record in status.models}
            self.deployments = {each.spec.model: each for each in status.deployments}
            self._at = clock()
            self._renewed.notify_all()
