"""Target: the endpoint a load goes to, which models it has, and requests for them, encoded before the first is sent."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from cutwater.client.access import Access
from cutwater.client.address import local, transport_of
from cutwater.client.result import ModelInfo
from cutwater.client.transport import Call, Prepared, Transport
from cutwater.errors import CutwaterError, InputError, LinkLost, NotFound, Refused, did_you_mean
from cutwater.lab.load.payloads import Payload, PayloadOptions, payloads
from cutwater.units import Seconds

REACH: Seconds = 10.0
"""For the endpoint to say what it has."""


@dataclass(frozen=True)
class Endpoint:
    """Where to, and what to show there."""

    url: str = ""
    """As for `cutwater.client.asynchronous.AsyncClient`; empty: the gateway of this machine's cluster."""
    access: Access = field(default_factory=Access)


class Target:
    """An asynchronous context; inside it requests can be prepared."""

    def __init__(self, endpoint: Endpoint, places: Mapping[str, str] | None = None) -> None:
        """Nothing is connected yet.

        Args:
            endpoint: Where to.
            places: Model -> where it was asked for, for errors: "w.yaml:3: models.bert"; as far as that is known.

        Raises:
            InputError: There can be no such endpoint.
            NotFound: None was given, and this machine has no gateway.
        """
        self._places = places or {}
        url, access = (endpoint.url, endpoint.access) if endpoint.url else local(endpoint.access)
        self.url = url
        self._transport = transport_of(url, access)
        self._teller: Transport = self._transport
        """Who is asked about models: a native link carries requests only, the gateway's other doors say more."""
        self.native = url.startswith(("unix:", "tcp:"))
        if self.native:
            self._teller = transport_of("", endpoint.access)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self._transport.close()
        if self._teller is not self._transport:
            await self._teller.close()

    async def info(self, models: Iterable[str]) -> dict[str, ModelInfo]:
        """What each of ``models`` takes.

        Raises:
            NotFound: A model is not there; the message says which are.
            LinkLost: Nobody answers.
            CutwaterError: What the endpoint answers instead.
        """
        found: dict[str, ModelInfo] = {}
        for model in models:
            try:
                async with asyncio.timeout(REACH):
                    found[model] = await self._teller.model(model)
            except TimeoutError:
                raise LinkLost(f"{self.url} did not say within {REACH:g} s what model {model!r} takes") from None
            except NotFound as error:
                known = await self._known()
                near = did_you_mean(model, known) if known is not None else f" ({error})"
                place = f"{self._places[model]}: " if model in self._places else ""
                raise NotFound(f"{place}{self.url} has no model {model!r}{near}") from None
        return found

    async def _known(self) -> list[str] | None:
        """The models that are there; None: the endpoint does not list them."""
        try:
            return [each.name for each in await self._teller.models()]
        except CutwaterError:
            return None

    async def prepared(
        self, models: Sequence[str], options: PayloadOptions, limit: Seconds
    ) -> Mapping[str, Sequence[Prepared]]:
        """Requests for each model, encoded.

        Args:
            models: Their names at the endpoint.
            options: What the payloads are made of.
            limit: What the endpoint is told that a request may take, in seconds.

        Raises:
            InputError: A payload does not fit, or there is none.
            CutwaterError: See `info`.
        """
        infos = await self.info(models)
        return {
            model: [self._prepare(model, each, limit) for each in payloads(infos[model], options)] for model in models
        }

    def _prepare(self, model: str, payload: Payload, limit: Seconds) -> Prepared:
        return self._transport.prepared(Call(model, payload.feeds, (), limit, 0, "", ""))

    async def check(self, prepared: Mapping[str, Sequence[Prepared]], limit: Seconds) -> None:
        """Send one request to each model and wait for its answer, so that a load is not a pile of the same error.

        Raises:
            InputError: What is wrong with the model's payload.
            CutwaterError: Whatever else the endpoint answers; refusals are none of these: they say it is busy.
        """
        for model, requests in prepared.items():
            try:
                async with asyncio.timeout(limit):
                    await requests[0]()
            except Refused:
                continue
            except TimeoutError:
                raise LinkLost(f"{self.url} did not answer a request for {model!r} within {limit:g} s") from None
            except InputError as error:
                raise type(error)(f"{self.url} does not take the first payload for {model!r}: {error}") from error
