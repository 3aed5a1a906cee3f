"""Native links as a transport: arrays only, one link per model, no copy between processes of one machine."""

import asyncio
from collections.abc import Mapping

from cutwater.client.access import Access
from cutwater.client.result import Listed, ModelInfo
from cutwater.client.transport import Call, Glance, Prepared, Reply
from cutwater.errors import NotFound, Unsupported, did_you_mean
from cutwater.frameworks.base import Array
from cutwater.services.gateway.client import NativeClient
from cutwater.wire.message import Address

_INSTEAD = "ask by HTTP or gRPC"
_ONLY = f"a native link carries requests only; {_INSTEAD}"


class NativeTransport:
    """See `Transport`. A link is dialled when its model is first asked, and again after it was lost.

    It carries arrays: no encoded pictures, no id, and nothing about models.
    """

    def __init__(self, address: Address, access: Access) -> None:
        """Nothing is connected yet. ``address``: where the gateway takes native links in."""
        self._address, self._access = address, access
        self._links: dict[str, asyncio.Task[NativeClient]] = {}

    async def infer(self, call: Call) -> Reply:
        """See `Transport.infer`. Raises Unsupported for what such a link cannot carry."""
        for name, array in call.feeds.items():
            if array.dtype == object:
                raise Unsupported(f"input {name!r}: a native link carries no text and no encoded pictures; {_INSTEAD}")
        outcome = await (await self._link(call.model)).infer(call.feeds, call.timeout, call.priority)
        outputs = outcome.outputs
        if call.outputs:
            outputs = {name: _output(outputs, name) for name in call.outputs}
        return Reply(outputs, outcome.request, outcome.degraded, trail=outcome.trail)

    def prepared(self, call: Call) -> Prepared:
        """See `Transport.prepared`. Arrays travel as they lie in memory: there is nothing to encode."""

        async def send() -> Glance:
            reply = await self.infer(call)
            return Glance(reply.request, reply.degraded)

        return send

    async def ready(self) -> bool:
        """See `Transport.ready`."""
        raise Unsupported(f"{_ONLY} whether the gateway is ready")

    async def models(self) -> list[Listed]:
        """See `Transport.models`."""
        raise Unsupported(f"{_ONLY} which models there are")

    async def model(self, name: str) -> ModelInfo:
        """See `Transport.model`."""
        raise Unsupported(f"{_ONLY}, or give arrays under the names of the inputs of {name}")

    async def look(self, task: str, picture: bytes, wishes: Mapping[str, str], id: str) -> bytes | bytearray:
        """See `Transport.look`."""
        raise Unsupported(f"a native link carries no pictures; {_INSTEAD}")

    async def close(self) -> None:
        """See `Transport.close`."""
        links, self._links = self._links, {}
        # One that is being dialled is waited for: given up half-way it would keep its socket for a while.
        for found in await asyncio.gather(*links.values(), return_exceptions=True):
            if isinstance(found, NativeClient):
                found.close()

    async def _link(self, model: str) -> NativeClient:
        """The model's link; all who ask while it is dialled wait for the same."""
        dialling = self._links.get(model)
        if dialling is None or _is_gone(dialling):
            dialling = self._links[model] = asyncio.create_task(self._dial(model))
        return await asyncio.shield(dialling)

    async def _dial(self, model: str) -> NativeClient:
        access = self._access
        tls = access.tls if self._address.startswith("tcp:") else None
        client = NativeClient(self._address, model, token=access.token, max_frame=access.largest, tls=tls)
        await client.open()
        return client


def _is_gone(dialling: "asyncio.Task[NativeClient]") -> bool:
    if not dialling.done():
        return False
    return dialling.exception() is not None or dialling.result().gone


def _output(outputs: Mapping[str, Array], name: str) -> Array:
    if name not in outputs:
        raise NotFound(f"there is no output {name!r}{did_you_mean(name, outputs)}")
    return outputs[name]
