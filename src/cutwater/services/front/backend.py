"""GatewayBackend: the models of a gateway, as the public interface sees them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from cutwater.api.backend import Answered, Ask, ModelCard, Standing, Statistics
from cutwater.api.requests import NAME
from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import BadSetting, CutwaterError, NotFound, Refused, did_you_mean
from cutwater.fabric.base import Fabric
from cutwater.services.asking import Deploy, DeploymentStatus, Done, EpochStatus, Undeploy, ask_coordinator
from cutwater.services.front.host import Host
from cutwater.services.front.picture import Picture
from cutwater.services.front.repeats import Repeats
from cutwater.units import GatewayId, Seconds, format_request

LOAD: Seconds = 60.0
"""How long `GatewayBackend.load` waits for a model to be READY."""


class GatewayBackend:
    """See `cutwater.api.backend.Backend`."""

    def __init__(
        self,
        name: GatewayId,
        hosts: Mapping[str, Host],
        picture: Picture,
        fabric: Fabric,
        statistics: Callable[[str], Statistics],
        begin_span: Callable[[str], str] = lambda trace: "",
    ) -> None:
        """Nothing is asked yet.

        Args:
            name: the gateway's.
            hosts: what the gateway serves now, looked into at each request.
            picture: the cluster.
            fabric: where the coordinator is asked to deploy.
            statistics: of a model.
            begin_span: ``traceparent`` of whoever asks -> under which the request is recorded here; empty: it is not.
        """
        self.name = str(name)
        self.draining = False
        self._hosts = hosts
        self._picture = picture
        self._fabric = fabric
        self._statistics = statistics
        self._begin_span = begin_span
        self._repeats = Repeats(clock)
        self._cards: dict[str, tuple[ModelRecord, DeploymentStatus | None, bool, ModelCard]] = {}

    @property
    def ready(self) -> bool:
        """See `Backend.ready`."""
        return not self.draining and self._picture.status is not None

    def models(self) -> Sequence[ModelCard]:
        """See `Backend.models`."""
        return [self._card(record) for _, record in sorted(self._picture.models.items())]

    def model(self, name: str) -> ModelCard:
        """See `Backend.model`."""
        record = self._picture.models.get(name)
        if record is None:
            if self._picture.status is None:
                raise Refused("this gateway has not heard yet which models there are; ask again in a second")
            raise NotFound(f"the cluster knows no model {name[:NAME]!r}{did_you_mean(name, self._picture.models)}")
        return self._card(record)

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        """See `Backend.refusal`."""
        host = self._hosts.get(ask.model)
        return host.refusal(ask, ahead) if host is not None else None

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        """See `Backend.refused`."""
        if (host := self._hosts.get(ask.model)) is not None:
            host.refused(ask, error)

    async def infer(self, ask: Ask) -> Answered:
        """See `Backend.infer`."""
        record = self._picture.models.get(ask.model)
        return await self._repeats.once(ask, self._infer, record.hash if record is not None else "")

    async def _infer(self, ask: Ask) -> Answered:
        host = self._hosts.get(ask.model)
        if host is None:
            card = self.model(ask.model)
            if card.standing is Standing.LOADING:
                raise Refused(f"model {card.name!r} cannot be asked yet: {card.why}; ask again in a second")
            raise NotFound(f"model {card.name!r} is not deployed: {card.why}; `cutwater deploy {card.name}` deploys it")
        ask = ask._replace(span=self._begin_span(ask.trace))
        reply = await host.ask(ask)
        if reply.fault is not None:
            raise reply.fault
        request = format_request(reply.request)
        return Answered(request, reply.outputs, reply.trail, reply.degraded, ask.span, reply.waited)

    async def load(self, name: str, options: Mapping[str, Any]) -> None:
        """See `Backend.load`."""
        self.model(name)
        try:
            spec = msgspec.convert({**options, "model": name}, DeploySpec, strict=False)
        except msgspec.ValidationError as error:
            raise BadSetting(f"model {name!r} cannot be deployed so: {error}") from error
        unknown = options.keys() - set(DeploySpec.__struct_fields__)
        if unknown:
            hint = did_you_mean(min(unknown), DeploySpec.__struct_fields__)
            raise BadSetting(f"a deployment has no option {min(unknown)!r}{hint}")
        await ask_coordinator(self._fabric, Deploy(spec), Done)
        await self._until(name, Standing.READY)

    async def unload(self, name: str) -> None:
        """See `Backend.unload`."""
        self.model(name)
        await ask_coordinator(self._fabric, Undeploy(name), Done)
        await self._until(name, Standing.UNAVAILABLE)

    def statistics(self, name: str) -> Statistics:
        """See `Backend.statistics`."""
        self.model(name)
        return self._statistics(name)

    async def _until(self, name: str, standing: Standing) -> None:
        """Wait until a model stands so. Raises Refused saying why it does not."""
        card: ModelCard | None = None
        try:
            async with asyncio.timeout(LOAD):
                with self._picture as picture:
                    await picture.fresh()
                    while (card := self.model(name)).standing is not standing:
                        deployed = picture.deployments.get(name)
                        if standing is Standing.READY and deployed is not None and deployed.problem:
                            raise Refused(f"model {name!r} cannot be brought up: {deployed.problem}")
                        await picture.next()
        except TimeoutError:
            found = f"{card.standing}: {card.why}" if card is not None else "not known"
            raise Refused(f"model {name!r} is not {standing} after {LOAD:g} s; it is {found}") from None

    def _card(self, record: ModelRecord) -> ModelCard:
        """Made anew only when something about the model has changed: it is wanted for each request."""
        deployed, able = self._picture.deployments.get(record.name), self._able(record.name)
        known = self._cards.get(record.name)
        if known is None or known[0] is not record or known[1] is not deployed or known[2] is not able:
            known = self._cards[record.name] = record, deployed, able, self._make_card(record, deployed, able)
        return known[3]

    def _able(self, name: str) -> bool:
        host = self._hosts.get(name)
        return host is not None and host.able and not self.draining

    def _make_card(self, record: ModelRecord, deployed: DeploymentStatus | None, able: bool) -> ModelCard:
        standing, why = self._standing(deployed, able)
        live = _live(deployed)
        return ModelCard(
            name=record.name,
            inputs=record.inputs,
            outputs=record.outputs,
            dynamic=record.dynamic,
            pictures=record.pictures,
            labels=record.labels,
            task=record.task,
            standing=standing,
            why=why,
            timeout=deployed.spec.timeout if deployed is not None else DeploySpec(model=record.name).timeout,
            hash=record.hash,
            stages=tuple(f"{each.node}: {each.begin} .. {each.end}" for each in live.workers) if live else (),
        )

    def _standing(self, deployed: DeploymentStatus | None, able: bool) -> tuple[Standing, str]:
        if able:
            return Standing.READY, ""
        if self.draining:
            return Standing.UNAVAILABLE, "the gateway drains"
        if deployed is None or deployed.removed:
            return Standing.UNAVAILABLE, "it is not deployed"
        if deployed.parked:
            return Standing.UNAVAILABLE, "it was taken down while nobody used it, and comes back when it is asked for"
        return Standing.LOADING, deployed.problem or "it is being brought up"


def _live(deployed: DeploymentStatus | None) -> EpochStatus | None:
    epochs = deployed.epochs if deployed is not None else ()
    return next((each for each in reversed(epochs) if each.phase is EpochPhase.LIVE), None)
