"""The calls that look at models, and those that change which are served."""

import msgspec

from cutwater import __version__
from cutwater.api.backend import VERSION, Backend, ModelCard, Spell, Standing, Statistics
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.reading import parameters_of
from cutwater.api.http.models import EXTENSIONS, PLATFORM, config_of
from cutwater.api.http.repository import options_of
from cutwater.api.requests import Contract, Contracts, check_version


class Models:
    """One method for each call; all raise CutwaterError."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._contracts = Contracts()

    async def live(self, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """That somebody answers."""
        return pb.ServerLiveResponse(live=True)

    async def ready(self, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Whether requests are taken in."""
        return pb.ServerReadyResponse(ready=self._backend.ready)

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Whether a model can be asked."""
        return pb.ModelReadyResponse(ready=self._card(request).standing is Standing.READY)

    async def server(self, request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """What answers here."""
        # Raw contents are no extension in gRPC.
        extensions = [each for each in EXTENSIONS if each != "binary_tensor_data"]
        return pb.ServerMetadataResponse(name="cutwater", version=__version__, extensions=extensions)

    async def metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """What a model takes and gives."""
        contract = self._contract(request)
        found = pb.ModelMetadataResponse(name=contract.card.name, versions=[VERSION], platform=PLATFORM)
        for slots, tensors in ((contract.inputs, found.inputs), (contract.outputs, found.outputs)):
            for slot in slots.values():
                tensors.add(name=slot.name, datatype=slot.datatype.name, shape=slot.shape)
        return found

    async def config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """How a model is served."""
        config = msgspec.to_builtins(config_of(self._contract(request)))
        return pb.ModelConfigResponse(config=pb.ModelConfig(**config))

    async def statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """How a model fared, or all of them."""
        cards = [self._card(request)] if request.name else self._backend.models()
        return pb.ModelStatisticsResponse(
            model_stats=[_fared(card, self._backend.statistics(card.name)) for card in cards]
        )

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """All models the cluster knows."""
        found = pb.RepositoryIndexResponse()
        for card in self._backend.models():
            if not request.ready or card.standing is Standing.READY:
                found.models.add(name=card.name, version=VERSION, state=card.standing.value, reason=card.why)
        return found

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Deploy a model; answers when it is READY."""
        await self._backend.load(request.model_name, options_of(parameters_of(request.parameters)))
        return pb.RepositoryModelLoadResponse()

    async def unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Undeploy a model; answers when it is READY no more."""
        await self._backend.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _card(
        self,
        request: pb.ModelReadyRequest | pb.ModelMetadataRequest | pb.ModelConfigRequest | pb.ModelStatisticsRequest,
    ) -> ModelCard:
        card = self._backend.model(request.name)
        check_version(card.name, request.version)
        return card

    def _contract(self, request: pb.ModelMetadataRequest | pb.ModelConfigRequest) -> Contract:
        return self._contracts.of(self._card(request))


def _fared(card: ModelCard, fared: Statistics) -> pb.ModelStatistics:
    found = pb.ModelStatistics(
        name=card.name,
        version=VERSION,
        last_inference=round(fared.last * 1e3),
        inference_count=fared.success.count,
        execution_count=sum(spell.count for spell in fared.batches.values()),
        inference_stats=pb.InferStatistics(
            success=_duration(fared.success),
            fail=_duration(fared.fail),
            queue=_duration(fared.queue),
            compute_input=_duration(fared.entry),
            compute_infer=_duration(fared.compute),
            compute_output=_duration(fared.exit),
        ),
    )
    for size, spell in sorted(fared.batches.items()):
        found.batch_stats.add(batch_size=size, compute_infer=_duration(spell))
    return found


def _duration(spell: Spell) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=spell.count, ns=round(spell.seconds * 1e9))
