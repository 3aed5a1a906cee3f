"""What the server and its models tell of themselves: how they stand, what they take, how they fared."""

from starlette.requests import Request
from starlette.responses import Response

from cutwater import __version__
from cutwater.api.backend import VERSION, Backend, ModelCard, Standing
from cutwater.api.http import words
from cutwater.api.http.answers import json_response
from cutwater.api.models import EXTENSIONS, PLATFORM, Statistics, config_of, fared_of
from cutwater.api.requests import Contracts, Slot, check_version
from cutwater.errors import Refused


class Models:
    """Endpoints that only look."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._contracts = Contracts()

    async def server(self, request: Request) -> Response:
        """What answers here."""
        return json_response(words.ServerMetadata("cutwater", __version__, list(EXTENSIONS)))

    async def live(self, request: Request) -> Response:
        """That somebody answers."""
        return json_response(words.Live(live=True))

    async def ready(self, request: Request) -> Response:
        """Whether requests are taken in."""
        if not self._backend.ready:
            raise Refused(f"the gateway {self._backend.name} takes no requests in: it is starting, or draining")
        return json_response(words.Ready(ready=True))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model can be asked."""
        card = self._card(request)
        if card.standing is not Standing.READY:
            raise Refused(f"model {card.name!r} is {card.standing}: {card.why or 'it is not known why'}")
        return json_response(words.ModelReady(card.name, ready=True))

    async def metadata(self, request: Request) -> Response:
        """What a model takes and gives."""
        contract = self._contracts.of(self._card(request))
        return json_response(
            words.ModelMetadata(
                name=contract.card.name,
                versions=[VERSION],
                platform=PLATFORM,
                inputs=[_metadata(slot) for slot in contract.inputs.values()],
                outputs=[_metadata(slot) for slot in contract.outputs.values()],
            )
        )

    async def config(self, request: Request) -> Response:
        """How a model is served."""
        contract = self._contracts.of(self._card(request))
        return json_response(config_of(contract))

    async def statistics(self, request: Request) -> Response:
        """How a model fared, or all of them."""
        cards = [self._card(request)] if "model" in request.path_params else self._backend.models()
        return json_response(Statistics([fared_of(card, self._backend.statistics(card.name)) for card in cards]))

    def _card(self, request: Request) -> ModelCard:
        """Raises NotFound."""
        card = self._backend.model(request.path_params["model"])
        check_version(card.name, request.path_params.get("version", ""))
        return card


def _metadata(slot: Slot) -> words.TensorMetadata:
    return words.TensorMetadata(slot.name, slot.datatype.name, list(slot.shape))
