"""The calls that look at models, and those that change which are served."""

import msgspec

from cutwater import __version__
from cutwater.api.backend import VERSION, Backend, ModelCard, Standing
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.reading import parameters_of
from cutwater.api.models import EXTENSIONS, PLATFORM, config_of, fared_of, options_of
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
            model_stats=[
                pb.ModelStatistics(**msgspec.to_builtins(fared_of(card, self._backend.statistics(card.name))))
                for card in cards
            ]
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
