"""An orchestrator learns that the process lives, and whether and why not requests may be sent to it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from endings import get

from cutwater.api.backend import Answered, Ask, ModelCard, Standing, Statistics
from cutwater.errors import NotFound
from cutwater.observe.health import Readiness, health_routes

CARDS = (
    ModelCard(name="vit", inputs=(), outputs=(), standing=Standing.READY),
    ModelCard(name="yolo", inputs=(), outputs=(), why="it is not deployed"),
)


class Echo:
    """A backend that answers with what it was asked."""

    name = "gateway-1"

    def __init__(self, ready: bool) -> None:
        self.ready = ready

    def models(self) -> Sequence[ModelCard]:
        return CARDS

    def model(self, name: str) -> ModelCard:
        for card in CARDS:
            if card.name == name:
                return card
        raise NotFound(name)

    async def infer(self, ask: Ask) -> Answered:
        return Answered("1-1", ask.feeds, (), False)

    async def load(self, name: str, options: Mapping[str, Any]) -> None:
        self.model(name)

    async def unload(self, name: str) -> None:
        self.model(name)

    def statistics(self, name: str) -> Statistics:
        return Statistics()


def test_it_lives_even_while_it_is_not_ready() -> None:
    healthz, _ = health_routes(Echo(ready=False))
    assert asyncio.run(get(healthz)) == (200, "application/json", b'{"alive":true}')


@pytest.mark.parametrize(
    ("ready", "reasons", "status", "said"),
    [
        (True, ("never asked",), 200, ()),
        (False, ("the gateway drains",), 503, ("the gateway drains",)),
        (False, (), 503, ("the gateway takes no requests in; its log says why",)),
    ],
)
def test_readiness_has_reasons(ready: bool, reasons: tuple[str, ...], status: int, said: tuple[str, ...]) -> None:
    _, readyz = health_routes(Echo(ready), lambda: reasons)
    found, _, body = asyncio.run(get(readyz))
    assert found == status
    assert msgspec.json.decode(body, type=Readiness) == Readiness(
        ready=ready,
        gateway="gateway-1",
        reasons=said,
        models={"vit": "READY", "yolo": "UNAVAILABLE: it is not deployed"},
    )
