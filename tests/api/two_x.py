"""A backend in memory that really computes: y = 2x in every datatype, text in capitals, and models that misbehave."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from cutwater.api.backend import Answered, Ask, Feeds, ModelCard, Spell, Standing, Statistics
from cutwater.errors import BadSetting, CutwaterError, NotFound, Refused, StageFailed, did_you_mean
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Tensor

Compute = Callable[[Feeds], Mapping[str, Array]]

NUMBERS = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)  # fmt: skip
LABELS = ("ash", "birch", "cedar", "elm", "fir")


def tensor(name: str, dtype: str, *shape: int, batched: bool = False) -> Tensor:
    itemsize = {"string": 0, "bfloat16": 2}.get(dtype) or (0 if dtype == "string" else np.dtype(dtype).itemsize)
    return Tensor(name, dtype, shape, int(np.prod(shape)) * itemsize, 0 if batched else None)


def card(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], **more: Any) -> ModelCard:
    return ModelCard(name=name, inputs=tuple(inputs), outputs=tuple(outputs), **{"standing": Standing.READY, **more})


def twice(feeds: Feeds) -> Mapping[str, Array]:
    x = feeds["x"]
    return {"y": x | x if x.dtype == np.bool_ else (x * 2).astype(x.dtype)}


def twice_bfloat16(feeds: Feeds) -> Mapping[str, Array]:
    """Twice as much is one more in the exponent, which begins at bit 7."""
    return {"y": (feeds["x"] + np.uint16(1 << 7)).astype(np.uint16)}


def shout(feeds: Feeds) -> Mapping[str, Array]:
    found = np.empty(feeds["text"].shape, object)
    found.flat = [text.upper() for text in feeds["text"].ravel().tolist()]
    return {"loud": found}


def fail(feeds: Feeds) -> Mapping[str, Array]:
    raise StageFailed("stage 2 on node-1: the model divides by zero")


def refuse(feeds: Feeds) -> Mapping[str, Array]:
    error = Refused("the queue is full")
    error.retry_after = 2.4
    raise error


def crowd(feeds: Feeds) -> Mapping[str, Array]:
    error = Refused("this client has 64 requests waiting")
    error.status = 429
    raise error


def mixed(feeds: Feeds) -> Mapping[str, Array]:
    return {"sum": feeds["a"] + feeds["b"], "difference": feeds["a"] - feeds["b"]}


def measure(feeds: Feeds) -> Mapping[str, Array]:
    return {"length": np.array([feeds["encoded"].size], np.int64)}


def brightness(feeds: Feeds) -> Mapping[str, Array]:
    return {"light": feeds["pixels"].mean(axis=(1, 2, 3))}


def score(feeds: Feeds) -> Mapping[str, Array]:
    return {"scores": feeds["x"]}


class TwoX:
    """See `Backend`."""

    def __init__(self) -> None:
        self.name = "gateway-1"
        self.ready = True
        self.asked: list[Ask] = []
        """All requests, as they came."""
        self.withdrawn: list[str] = []
        """Ids of requests that were cancelled."""
        self.loaded: list[tuple[str, Mapping[str, Any]]] = []
        self.refuses: CutwaterError | None = None
        """What requests are refused with that are on their way in."""
        self.turned_away: list[CutwaterError] = []
        self.coming: list[tuple[Ask, int]] = []
        """Those, and how many were before each."""
        self.span = ""
        """What answers say they are recorded under."""
        self.degraded = False
        self.slow = asyncio.Event()
        """The model "slow" answers when it is set."""
        self.waiting = asyncio.Event()
        """Somebody waits for it."""
        self._gone = asyncio.Event()
        self._models: dict[str, tuple[ModelCard, Compute]] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        for each, compute in _models():
            self._models[each.name] = each, compute

    def models(self) -> Sequence[ModelCard]:
        return [each for each, _ in sorted(self._models.values(), key=lambda pair: pair[0].name)]

    def model(self, name: str) -> ModelCard:
        if name not in self._models:
            raise NotFound(f"the cluster knows no model {name[:80]!r}{did_you_mean(name, self._models)}")
        return self._models[name][0]

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        self.coming.append((ask, ahead))
        return self.refuses

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        self.turned_away.append(error)

    async def infer(self, ask: Ask) -> Answered:
        self.asked.append(ask)
        if ask.model == "slow":
            await self._until_released(ask)
        done, failed = self._counts.get(ask.model, (0, 0))
        try:
            outputs = self._models[ask.model][1](ask.feeds)
        except (StageFailed, Refused):
            self._counts[ask.model] = done, failed + 1
            raise
        self._counts[ask.model] = done + 1, failed
        return Answered(f"5c1f03aa-{len(self.asked)}", outputs, (), self.degraded, self.span)

    async def _until_released(self, ask: Ask) -> None:
        self.waiting.set()
        try:
            await self.slow.wait()
        except asyncio.CancelledError:
            self.withdrawn.append(ask.id)
            self._gone.set()
            raise

    async def until_withdrawn(self, id: str) -> None:
        while id not in self.withdrawn:
            self._gone.clear()
            await self._gone.wait()

    async def load(self, name: str, options: Mapping[str, Any]) -> None:
        self.model(name)
        if unknown := options.keys() - {"stages", "objective"}:
            raise BadSetting(f"a deployment has no option {min(unknown)!r}")
        self.loaded.append((name, dict(options)))
        self._stand(name, Standing.READY)

    async def unload(self, name: str) -> None:
        self._stand(name, Standing.UNAVAILABLE, "it is not deployed")

    def _stand(self, name: str, standing: Standing, why: str = "") -> None:
        self._models[name] = (
            msgspec.structs.replace(self.model(name), standing=standing, why=why),
            self._models[name][1],
        )

    def statistics(self, name: str) -> Statistics:
        self.model(name)
        done, failed = self._counts.get(name, (0, 0))
        computing = Spell(done, 0.002 * done)
        return Statistics(
            success=Spell(done, 0.003 * done),
            fail=Spell(failed, 0.0),
            compute=computing,
            batches={1: computing} if done else {},
            last=1.5e9 if done else 0.0,
        )

    @contextmanager
    def draining(self) -> Iterator[None]:
        self.ready = False
        yield
        self.ready = True


def _models() -> Iterator[tuple[ModelCard, Compute]]:
    for dtype in NUMBERS:
        x, y = tensor("x", dtype, 1, 4, batched=True), tensor("y", dtype, 1, 4, batched=True)
        yield card(f"two_{dtype}", [x], [y]), twice
    x, y = tensor("x", "bfloat16", 1, 4, batched=True), tensor("y", "bfloat16", 1, 4, batched=True)
    yield card("two_bfloat16", [x], [y]), twice_bfloat16
    large = {"x": (0, 1, 2)}
    x, y = tensor("x", "float32", 3, 8, 8), tensor("y", "float32", 3, 8, 8)
    yield card("two_large", [x], [y], dynamic=large), twice
    text, loud = tensor("text", "string", 1, batched=True), tensor("loud", "string", 1, batched=True)
    yield card("shout", [text], [loud]), shout
    x, y = tensor("x", "float32", 1), tensor("y", "float32", 1)
    for name, compute in (("slow", twice), ("error", fail), ("full", refuse), ("crowded", crowd)):
        yield card(name, [x], [y]), compute
    a, b = tensor("a", "int32", 2), tensor("b", "int32", 2)
    yield card("mixed", [a, b], [tensor("sum", "int32", 2), tensor("difference", "int32", 2)]), mixed
    scores = tensor("x", "float32", 1, 5, batched=True), tensor("scores", "float32", 1, 5, batched=True)
    yield card("trees", scores[:1], scores[1:], labels=LABELS), score
    encoded, length = tensor("encoded", "uint8", 1000), tensor("length", "int64", 1)
    yield card("encoded", [encoded], [length], task="classify"), measure
    pixels, light = tensor("pixels", "float32", 1, 3, 8, 8), tensor("light", "float32", 1)
    yield card("pixels", [pixels], [light], task="classify"), brightness
    z, w = tensor("z", "complex64", 2), tensor("w", "complex64", 2)
    yield card("complex", [z], [w]), twice
