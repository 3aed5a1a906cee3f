"""Choices: another way to cut and place a model, as somebody weighs it on the page: forecast, and as it is deployed."""

import msgspec

from cutwater.engine.control import MakePlan, NodeView
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import InputError, NotFound, Refused
from cutwater.services.asking import ClusterStatus
from cutwater.services.cache import BlobCache
from cutwater.services.dashboard.forecaster import Forecaster
from cutwater.services.dashboard.forecasts import AskChart, AskForecast, Told
from cutwater.services.front.picture import Picture
from cutwater.units import NodeId


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another way to cut and place a model, as the page sends it; everything else stays as it is deployed."""

    cuts: tuple[str, ...] = ()
    places: tuple[NodeId, ...] = ()
    stages: int | None = None
    objective: str | None = None


class Choices:
    """Of the models that the picture shows."""

    def __init__(self, picture: Picture, gateway: str, cache: BlobCache) -> None:
        """``cache``: for models and profiles that forecasts are made of."""
        self._picture = picture
        self._gateway = gateway
        self._cache = cache
        self._forecaster = Forecaster(cache.folder)

    def close(self) -> None:
        """End the forecaster."""
        self._forecaster.close()

    async def ask(self, kind: type[AskChart | AskForecast], model: str, choice: Choice) -> Told:
        """The forecaster's answer. Raises CutwaterError, its own included."""
        command = self._command(model, choice)
        with self._cache.hold(command.record.blob, command.record.profile):
            for blob in (command.record.profile, command.record.blob):
                await self._cache.fetch(blob)
            told = await self._forecaster.ask(kind(command))
        if told.fault is not None:
            raise told.fault.error()
        return told

    def status(self) -> ClusterStatus:
        """The coordinator's picture. Raises Refused where there is none yet."""
        if self._picture.status is None:
            raise Refused("this gateway has not heard of its cluster yet; ask again in a second")
        return self._picture.status

    def spec(self, model: str, choice: Choice) -> DeploySpec:
        """The model's deployment with this choice; all else as it is. Raises InputError."""
        deployed = self._picture.deployments.get(model)
        spec = deployed.spec if deployed is not None and not deployed.removed else DeploySpec(model=model)
        if choice.stages is not None and choice.cuts:
            raise InputError("the cuts say how many stages there are; leave out the one or the other")
        return msgspec.structs.replace(
            spec,
            cuts=choice.cuts,
            places=choice.places,
            stages=choice.stages,
            objective=choice.objective or spec.objective,
            # One chain, on any node: that is what a page shows and decides.
            chains=1 if choice.places else spec.chains,
        )

    def _command(self, model: str, choice: Choice) -> MakePlan:
        """What the coordinator would ask its planner, as far as this gateway can see."""
        status = self.status()
        record = self._picture.models.get(model)
        if record is None:
            raise NotFound(f"the cluster knows no model {model!r}")
        own = next((each.beat for each in status.gateways if each.beat.gateway == self._gateway), None)
        if own is None:
            raise Refused("the coordinator has not heard of this gateway yet; ask again in a second")
        return MakePlan(
            ticket=0,
            spec=self.spec(model, choice),
            record=record,
            nodes=views(status, model),
            links=status.links,
            source=own.node,
            source_host=own.host,
        )


def views(status: ClusterStatus, model: str) -> tuple[NodeView, ...]:
    """The nodes that can be planned with, less what other models use of them."""
    found = []
    for node in status.nodes:
        beat, hardware = node.beat, node.announcement.hardware
        if not node.alive or node.draining or beat is None or beat.leaving:
            continue
        others = [state for state in beat.workers if not state.worker.startswith(f"{model}.")]
        found.append(
            NodeView(
                announcement=node.announcement,
                free=hardware.memory - sum(state.memory for state in others),
                load=min(sum(state.busy for state in others) / hardware.cores, 1.0),
            )
        )
    return tuple(found)
