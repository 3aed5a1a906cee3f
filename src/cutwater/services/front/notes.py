"""Following the notes: what happened in the cluster, as its coordinator tells people."""

import asyncio
import logging
from collections.abc import Callable

from cutwater.engine.facts.gateways import Note
from cutwater.errors import CutwaterError, FabricError
from cutwater.fabric.base import Fabric, Message
from cutwater.services.access import FABRIC_RETRY
from cutwater.services.facts import NOTES, decode

_log = logging.getLogger(__name__)


async def follow_notes(fabric: Fabric, tell: Callable[[Note], None]) -> None:
    """Return once ``tell`` is told of every note from now on; one that cannot be read is passed over."""

    async def heard(message: Message) -> None:
        try:
            note = decode(message.data, Note)
        except CutwaterError as error:
            _log.warning("a note is ignored: %s", error)
            return
        tell(note)

    while True:
        try:
            await fabric.subscribe(NOTES, heard)
            return  # subscriptions go on after every outage
        except FabricError as error:
            _log.warning("cannot follow the notes: %s", error)
        await asyncio.sleep(FABRIC_RETRY)
