"""A backend in memory that really looks: where a picture is bright, and which colour it mostly has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import numpy as np
import uvloop

from cutwater.api.backend import Answered, Ask, Feeds, ModelCard, Standing, Statistics
from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.http.tasks import task_routes
from cutwater.api.tasks import PictureLimits
from cutwater.api.where import Where
from cutwater.engine.facts.models import Pictures
from cutwater.errors import CutwaterError, NotFound, did_you_mean
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Tensor
from cutwater.vision.pictures import Pixels, encode_picture

COLOURS = ("red", "green", "blue")


def tensor(name: str, dtype: str, *shape: int) -> Tensor:
    return Tensor(name, dtype, shape, int(np.prod(shape)) * np.dtype(dtype).itemsize)


def bright(feeds: Feeds) -> Mapping[str, Array]:
    """Raw boxes: around what is bright, scored by its strongest colour; and one nobody should hear of."""
    (pixels,) = feeds["pixels"]
    rows, columns = np.nonzero(pixels.max(axis=0) > 0.6)
    raw = np.zeros((1, 4 + len(COLOURS), 2), np.float32)
    if len(rows):
        left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        raw[0, :4, 0] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        raw[0, 4:, 0] = pixels[:, rows, columns].mean(axis=1)
    raw[0, :, 1] = 5, 5, 4, 4, 0.1, 0, 0
    return {"raw": raw}


def mostly(feeds: Feeds) -> Mapping[str, Array]:
    """Logits of the colours."""
    return {"logits": 10 * feeds["pixels"].mean(axis=(2, 3))}


LIGHTS = ModelCard(
    name="lights",
    inputs=(tensor("pixels", "float32", 1, 3, 64, 64),),
    outputs=(tensor("raw", "float32", 1, 7, 2),),
    pictures=Pictures(fit="letterbox"),
    labels=COLOURS,
    task="detect",
    standing=Standing.READY,
)
HUES = ModelCard(
    name="hues",
    inputs=(tensor("pixels", "float32", 1, 3, 8, 8),),
    outputs=(tensor("logits", "float32", 1, 3),),
    pictures=Pictures(fit="stretch"),
    labels=COLOURS,
    task="classify",
    standing=Standing.READY,
)


class Eyes:
    """See `Backend`."""

    def __init__(self, *cards: ModelCard) -> None:
        self.name = "gateway-1"
        self.ready = True
        self.asked: list[Ask] = []
        self.refuses: CutwaterError | None = None
        """What requests are refused with that are on their way in."""
        self.turned_away: list[CutwaterError] = []
        self.coming: list[tuple[Ask, int]] = []
        """Those, and how many were before each."""
        self._cards = {card.name: card for card in cards or (LIGHTS, HUES)}

    def models(self) -> Sequence[ModelCard]:
        return [self._cards[name] for name in sorted(self._cards)]

    def model(self, name: str) -> ModelCard:
        if name not in self._cards:
            raise NotFound(f"the cluster knows no model {name!r}{did_you_mean(name, self._cards)}")
        return self._cards[name]

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        self.coming.append((ask, ahead))
        return self.refuses

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        self.turned_away.append(error)

    async def infer(self, ask: Ask) -> Answered:
        self.asked.append(ask)
        compute = bright if self.model(ask.model).task == "detect" else mostly
        return Answered(f"0badcafe-{len(self.asked)}", compute(ask.feeds), (), False)

    async def load(self, name: str, options: Mapping[str, Any]) -> None:
        raise NotFound(name)

    async def unload(self, name: str) -> None:
        raise NotFound(name)

    def statistics(self, name: str) -> Statistics:
        return Statistics()


class Said(msgspec.Struct):
    """An answer."""

    status: int
    kind: str
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


class Bed:
    """One server with eyes."""

    def __init__(self, eyes: Eyes, url: str, http: aiohttp.ClientSession) -> None:
        self.eyes = eyes
        self.url = url
        self._http = http

    async def post(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Said:
        """``body``: bytes, or a form."""
        async with self._http.post(f"{self.url}{path}", data=body, headers=headers) as answer:
            return Said(answer.status, answer.content_type, await answer.read())


def on_eyes(
    story: Callable[[Bed], Awaitable[None]], *cards: ModelCard, limits: PictureLimits | None = None, limit: float = 20.0
) -> None:
    """Tell a story in a loop of its own."""

    @asynccontextmanager
    async def serving() -> AsyncIterator[Bed]:
        options, eyes = HttpOptions(), Eyes(*cards)
        app = make_app(eyes, options, task_routes(eyes, options, limits or PictureLimits()))
        server = HttpServer(app, Where("127.0.0.1", 0), options)
        url = await server.start()
        try:
            async with aiohttp.ClientSession() as http:
                yield Bed(eyes, url, http)
        finally:
            await server.stop(1.0)

    async def told() -> None:
        async with asyncio.timeout(limit), serving() as bed:
            await story(bed)

    uvloop.run(told())


def picture(colour: int = 0, height: int = 100, width: int = 200) -> Pixels:
    """Black, with one bright field from (40, 20) to (120, 60)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[20:60, 40:120, colour] = 255
    return pixels


def file(colour: int = 0, kind: str = "PNG") -> bytes:
    return encode_picture(picture(colour), kind)


def form(image: bytes | None, /, **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        made.add_field(name, value)
    if image is not None:
        made.add_field("image", image, filename="a.png", content_type="image/png")
    return made
