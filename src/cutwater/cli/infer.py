"""`cutwater infer`: ask a deployed model, one line per answer."""

import asyncio
import json as json_
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json, parse_timeout
from cutwater.drivers.live import clock
from cutwater.drivers.loop import run
from cutwater.engine.cluster import ModelRecord, Pictures
from cutwater.errors import BadQuantity, CutwaterError, LinkLost, NotFound
from cutwater.fabric.base import Fabric
from cutwater.frameworks.base import Array
from cutwater.lab.adding import known_as
from cutwater.lab.inputs import InputOptions, Item, open_inputs
from cutwater.services.access import tls_of
from cutwater.services.asking import ClusterStatus, GetStatus, ask_coordinator
from cutwater.services.cluster.overview import reached
from cutwater.services.gateway.client import NativeClient
from cutwater.services.home import Home
from cutwater.services.workers.outcome import Feeds, Outcome
from cutwater.settings.resolve import Resolved
from cutwater.units import Seconds, format_seconds, parse_seconds
from cutwater.vision.classify import best_guesses
from cutwater.vision.prepare import Preparation
from cutwater.wire.message import Address

LARGEST = 4096
"""Elements of an output whose values are written as JSON; of a larger one only type and shape are."""


@dataclass
class Tally:
    """What came of all."""

    answered: int = 0
    degraded: int = 0
    failed: int = 0
    latencies: list[Seconds] = field(default_factory=list)
    elapsed: Seconds = 0.0

    def add(self, outcome: Outcome | CutwaterError) -> None:
        """One more."""
        if isinstance(outcome, CutwaterError):
            self.failed += 1
            return
        self.answered += 1
        self.degraded += outcome.degraded
        self.latencies.append(outcome.latency)

    def facts(self) -> dict[str, Any]:
        """As JSON shows it; seconds."""
        p50, p99 = np.quantile(self.latencies, (0.5, 0.99)) if self.latencies else (0.0, 0.0)
        return {
            "answered": self.answered,
            "degraded": self.degraded,
            "failed": self.failed,
            "elapsed": self.elapsed,
            "rate": self.answered / self.elapsed if self.elapsed else 0.0,
            "p50": float(p50),
            "p99": float(p99),
        }


@with_settings("", "fabric")
def infer(
    resolved: Resolved,
    model: Annotated[str, typer.Argument(help="Its name in the cluster.", show_default=False)],
    inputs: Annotated[
        list[str], typer.Argument(help='Pictures, folders, videos, .npy, .npz; or "synthetic:N".', show_default=False)
    ],
    repeat: Annotated[int | None, typer.Option(min=1, help="How many times to go through all inputs.")] = None,
    for_: Annotated[str, typer.Option("--for", help="Go through them for so long.", metavar="TIME")] = "",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests per second; default: as fast as can be.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long one request may take.")] = "30 s",
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    gateway: Annotated[str, typer.Option(help="Address of the gateway to ask; default: one of the cluster.")] = "",
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line and answer.")] = False,
    json: Json = False,
) -> None:
    """Ask a deployed model and print its answers, in the order of the inputs; ends with 1 if any has none."""
    ask = Ask(
        model=model,
        inputs=inputs,
        repeat=repeat if repeat is not None or for_ else 1,
        duration=_duration(for_),
        rate=rate,
        timeout=parse_timeout(timeout),
        gateway=gateway,
    )
    answers: list[dict[str, Any]] = []

    def told(item: Item, outcome: Outcome | CutwaterError, record: ModelRecord) -> None:
        if json:
            answers.append(facts(item, outcome, record, top))
        elif jsonl:
            results.print(json_.dumps(facts(item, outcome, record, top)), soft_wrap=True, markup=False)
        elif isinstance(outcome, CutwaterError):
            said = str(outcome).removeprefix(f"{item.name}: ")
            results.print(f"{escape(item.name)}: [red]{outcome.kind}[/] {escape(said)}", soft_wrap=True)
        else:
            mark = " [yellow]degraded[/]" if outcome.degraded else ""
            said = escape(words(outcome, record, top))
            results.print(f"{escape(item.name)}: {said} ({format_seconds(outcome.latency)}){mark}", soft_wrap=True)

    tally = run(asked(resolved, ask, told))
    found = tally.facts()
    if json:
        print_json({**found, "answers": answers})
    else:
        messages.print(
            f"{tally.answered} answered, {tally.degraded} of them degraded, {tally.failed} failed; "
            f"{found['rate']:.4g}/s, latency p50 {format_seconds(found['p50'])}, p99 {format_seconds(found['p99'])}"
        )
    if tally.failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Ask:
    """What is to be asked."""

    model: str
    inputs: list[str]
    repeat: int | None
    duration: Seconds | None
    rate: float | None
    timeout: Seconds
    gateway: str


Told = Callable[[Item, Outcome | CutwaterError, ModelRecord], None]


async def asked(resolved: Resolved, ask: Ask, told: Told) -> Tally:
    """Ask, and tell each outcome in order. Raises CutwaterError where the model cannot be asked at all."""
    home = Home(resolved.home)
    async with reached(home, resolved.settings.fabric, "infer") as fabric:
        record = await _record(fabric, ask.model)
        address = ask.gateway or await _gateway(home, fabric)
    items = open_inputs(ask.inputs, record.inputs, InputOptions(preparation(record.pictures), ask.repeat))
    tally, waiting = Tally(), deque[Item]()
    tls = tls_of(resolved.settings.fabric) if address.startswith("tcp:") else None
    token = resolved.settings.gateway.token
    async with NativeClient(address, ask.model, token=token, timeout=ask.timeout, tls=tls) as client:
        began = clock()
        async for outcome in client.stream(_paced(items, ask, waiting)):
            tally.add(outcome)
            told(waiting.popleft(), outcome, record)
            if isinstance(outcome, LinkLost):
                break
        tally.elapsed = clock() - began
    return tally


async def _paced(items: Iterable[Item], ask: Ask, waiting: deque[Item]) -> AsyncIterator[Feeds | CutwaterError]:
    began = clock()
    for k, item in enumerate(items):
        if ask.rate is not None:
            await asyncio.sleep(max(began + k / ask.rate - clock(), 0.0))
        if ask.duration is not None and clock() - began >= ask.duration:
            return
        waiting.append(item)
        yield item.feeds if item.error is None else item.error


async def _record(fabric: Fabric, model: str) -> ModelRecord:
    record = await known_as(fabric, model)
    if record is None:
        raise NotFound(f"the cluster knows no model {model!r}; see `cutwater model list`, or add it")
    return record


async def _gateway(home: Home, fabric: Fabric) -> Address:
    """Where to ask: on this machine if there is a gateway, else any that lives. Raises NotFound."""
    for record in home.alive().values():
        if "socket" in record.facts:
            return record.facts["socket"]
    status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
    for each in status.gateways:
        if each.alive and each.beat.clients.startswith("tcp:"):
            return each.beat.clients
    raise NotFound("no gateway takes clients in; start one with `cutwater up`, or name its address with --gateway")


def preparation(pictures: Pictures) -> Preparation:
    """How pictures become inputs."""
    return Preparation(pictures.mean, pictures.std, pictures.fit, pictures.share)


def words(outcome: Outcome, record: ModelRecord, top: int) -> str:
    """An answer as people read it."""
    named = guesses(outcome, record, top)
    if named:
        return ", ".join(f"{name} {share:.1%}" for name, share in named)
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in outcome.outputs.items())


def guesses(outcome: Outcome, record: ModelRecord, top: int) -> list[tuple[str, float]]:
    """The best classes of a classifier's answer with their probabilities; empty where it is none."""
    if record.task != "classify" or len(outcome.outputs) != 1:
        return []
    (scores,) = outcome.outputs.values()
    if scores.ndim != 2 or scores.shape[1] > len(record.labels):
        return []
    best = best_guesses(scores.astype(np.float32), top)[0]
    return [(record.labels[guess.label], guess.probability) for guess in best]


def facts(item: Item, outcome: Outcome | CutwaterError, record: ModelRecord, top: int) -> dict[str, Any]:
    """An answer as programs read it; seconds."""
    if isinstance(outcome, CutwaterError):
        return {"input": item.name, "error": {"kind": outcome.kind, "message": str(outcome)}}
    found: dict[str, Any] = {
        "input": item.name,
        "request": outcome.request,
        "latency": outcome.latency,
        "degraded": outcome.degraded,
    }
    if named := guesses(outcome, record, top):
        found["classes"] = [{"label": label, "probability": share} for label, share in named]
    else:
        found["outputs"] = {name: _values(array) for name, array in outcome.outputs.items()}
    return found


def _values(array: Array) -> dict[str, Any]:
    said: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= LARGEST and array.dtype.kind != "c":
        said["values"] = array.tolist()
    return said


def _duration(text: str) -> Seconds | None:
    if not text:
        return None
    seconds = parse_seconds(text)
    if seconds <= 0:
        raise BadQuantity(f"--for {text}: give a time above 0, such as '10 s'")
    return seconds
