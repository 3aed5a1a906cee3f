"""Contest: plans for the same model, live side by side, take turns; what they achieve stands beside what was predicted.

Each contestant is a deployment of its own under a name of its own, so that turns follow each other without anything
being brought up in between, and whatever else the machine does falls on all of them alike.
"""

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

import msgspec
import numpy as np

from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import DeploymentRecord, DeploySpec
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.errors import DeadlineExceeded, NoReply, RunError
from cutwater.fabric.base import Fabric
from cutwater.frameworks.base import Session
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.lab.adding import Added, add_model
from cutwater.lab.inputs import InputOptions, good_feeds, open_inputs
from cutwater.lab.load.checked import Case
from cutwater.plan.plan import HopScore, Plan
from cutwater.services.asking import ClusterStatus, Done, GetStatus, Undeploy, ask_coordinator
from cutwater.services.cluster.deploying import deploy, live_epoch, until_live
from cutwater.services.facts import STATE, decode, deployment_key
from cutwater.services.gateway.client import NativeClient
from cutwater.services.workers.outcome import Outcome
from cutwater.units import NodeId, Seconds
from cutwater.wire.message import Address

MOST_QUESTIONS = 20
LIVE: Seconds = 180.0
"""For a plan to be live."""
SURVEYED: Seconds = 60.0
"""For all links to be measured."""
LED: Seconds = 30.0
"""For a coordinator that stood still to lead again."""
LOOK: Seconds = 0.25
TIMEOUT: Seconds = 30.0
"""For one answer."""
WARM = 3
"""Requests of each turn that do not count."""
SLACK = 4
"""Requests in flight beyond those that the plan's own latency and rate call for."""
MOST_AT_ONCE = 48
GATEWAY_MARK = "gateway@"
"""How a plan's hops name the gateway on a node."""


@dataclass(frozen=True)
class Contestant:
    """A plan that is live."""

    name: str
    model: str
    """What the cluster calls the model here."""
    spec: DeploySpec
    plan: Plan
    epoch: int

    @property
    def predicted(self) -> float:
        """On the objective: seconds, or answers per second."""
        score = self.plan.score
        return score.latency if self.spec.objective.startswith("latency") else score.throughput

    @property
    def described(self) -> str:
        """``"=raw=> camera: input..after blocks.7 =int8+zstd=> server: after blocks.7..output"``."""
        parts = [f"{'+'.join(stage.nodes)}: {stage.begin.label}..{stage.end.label}" for stage in self.plan.stages]
        return " ".join(f"={codec}=> {part}" for codec, part in zip(self.plan.codecs[:-1], parts, strict=True))


@dataclass
class Scores:
    """What one contestant achieved, one figure per round; and how far off its answers were at most."""

    figures: list[float] = field(default_factory=list)
    deviation: float = 0.0
    same_class: int = 0
    answers: int = 0

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.figures)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Over the rounds."""
        if len(self.figures) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.figures, n=4, method="inclusive")
        return low, high

    def take(self, outcome: Outcome, case: Case) -> None:
        """Look at an answer."""
        for name, wanted in case.outputs.items():
            found = outcome.outputs[name]
            off = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
            self.deviation = max(self.deviation, float(off.max()) / (float(np.abs(wanted).max()) or 1.0))
            self.same_class += int(found.argmax() == wanted.argmax())
        self.answers += 1


def questions(added: Added, inputs: Sequence[str], options: InputOptions = InputOptions()) -> list[Case]:  # noqa: B008
    """Inputs, and what the uncut model says of them. Raises BadTensor, BadPicture."""
    wanted = good_feeds(open_inputs(list(inputs), added.record.inputs, options), MOST_QUESTIONS)
    session: Session = OnnxRuntime().load(added.file.read_bytes())
    try:
        names = [each.name for each in added.record.outputs]
        return [Case(each, dict(zip(names, session.run(each), strict=True))) for each in wanted]
    finally:
        session.close()


async def enter(fabric: Fabric, added: Added, name: str, spec: DeploySpec) -> Contestant:
    """Deploy the model once more, as ``spec`` wants it.

    Raises:
        CutwaterError: why it is not live.
    """
    model = f"{added.record.name}-{name}"
    spec = msgspec.structs.replace(spec, model=model)
    await add_model(fabric, replace(added, record=msgspec.structs.replace(added.record, name=model)))
    status = await until_live(fabric, spec, await deploy(fabric, spec), LIVE)
    live = live_epoch(status)
    assert live is not None
    return Contestant(name, model, spec, await plan_of(fabric, model, live.epoch), live.epoch)


async def plan_of(fabric: Fabric, model: str, epoch: int) -> Plan:
    """The plan of an epoch with one chain."""
    entry = await (await fabric.keys(STATE)).get(deployment_key(model))
    assert entry is not None and entry.value is not None
    record = decode(entry.value, DeploymentRecord)
    [found] = [each for each in record.epochs if each.epoch == epoch]
    [chain] = found.blueprint.chains
    return chain.plan


async def compete(
    address: Address,
    contestants: Sequence[Contestant],
    cases: Sequence[Case],
    *,
    rounds: int = 5,
    requests: int = 20,
    seconds: Seconds = 3.0,
) -> dict[str, Scores]:
    """Let them take turns.

    Args:
        address: Where the gateway takes clients in.
        contestants: Their objective decides what is measured: the median latency of one request at a time, or the
            answers per second with as many in flight as are needed.
        cases: Questions with the uncut model's answers.
        rounds: Turns of each.
        requests: Per turn, for latency.
        seconds: Of a turn, for throughput.

    Raises:
        CutwaterError: a request without an answer.
    """
    scores = {each.name: Scores() for each in contestants}
    async with AsyncExitStack() as stack:
        clients = {
            each.name: await stack.enter_async_context(NativeClient(address, each.model, timeout=TIMEOUT))
            for each in contestants
        }
        for _ in range(rounds):
            for each in contestants:
                client, score = clients[each.name], scores[each.name]
                if each.spec.objective.startswith("latency"):
                    figure = await _latency(client, cases, requests, score)
                else:
                    figure = await _throughput(client, cases, seconds, _at_once(each.plan), score)
                score.figures.append(figure)
    return scores


async def _latency(client: NativeClient, cases: Sequence[Case], requests: int, score: Scores) -> Seconds:
    times: list[Seconds] = []
    for number, case in enumerate(islice(cycle(cases), WARM + requests)):
        outcome = await client.infer(case.feeds)
        score.take(outcome, case)
        if number >= WARM:
            times.append(outcome.latency)
    return statistics.median(times)


async def _throughput(
    client: NativeClient, cases: Sequence[Case], seconds: Seconds, at_once: int, score: Scores
) -> float:
    questions = cycle(cases)
    begin = clock() + seconds / 3
    until = begin + seconds
    answered = 0

    async def ask() -> None:
        nonlocal answered
        while clock() < until:
            case = next(questions)
            outcome = await client.infer(case.feeds)
            score.take(outcome, case)
            answered += begin <= clock() < until

    await asyncio.gather(*(ask() for _ in range(at_once)))
    return answered / seconds


def _at_once(plan: Plan) -> int:
    """Enough to keep the plan's bottleneck busy."""
    return min(round(plan.score.latency * plan.score.throughput) + SLACK + 2 * len(plan.stages), MOST_AT_ONCE)


async def measured_links(
    fabric: Fabric, nodes: int, limit: Seconds = SURVEYED
) -> dict[tuple[NodeId, NodeId], MeasuredLink]:
    """The links between so many nodes, both ways, as soon as they have measured them all. Raises DeadlineExceeded."""
    until = clock() + limit
    while clock() < until:
        status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
        if len(status.links) == nodes * (nodes - 1):
            return {(link.source, link.target): link for link in status.links}
        await asyncio.sleep(LOOK)
    raise DeadlineExceeded(f"after {limit:g} s the nodes have not measured all links between them")


async def leave(fabric: Fabric, contestants: Sequence[Contestant]) -> None:
    """Undeploy them, as soon as a coordinator leads again. Raises NoReply if none does."""
    until = clock() + LED
    for each in contestants:
        while True:
            try:
                await ask_coordinator(fabric, Undeploy(each.model), Done)
                break
            except NoReply:
                if clock() > until:
                    raise
            await asyncio.sleep(LOOK)


async def unchanged(fabric: Fabric, contestants: Sequence[Contestant]) -> None:
    """Raise RunError where one has been planned anew."""
    status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
    live = {each.spec.model: live_epoch(each) for each in status.deployments}
    for each in contestants:
        now = live.get(each.model)
        if now is None or now.epoch != each.epoch:
            why = "it is gone" if now is None else now.why
            raise RunError(f"{each.name} was planned anew before the contest: {why}")


def uses_measured(plan: Plan, links: Mapping[tuple[NodeId, NodeId], MeasuredLink]) -> list[tuple[HopScore, float]]:
    """The plan's hops between machines, each with the seconds that the measured link says it must take."""
    found = []
    for hop in plan.score.hops:
        ends = NodeId(hop.source.removeprefix(GATEWAY_MARK)), NodeId(hop.target.removeprefix(GATEWAY_MARK))
        if ends in links and hop.nbytes:  # the answer's way back is told by the hops it takes
            link = links[ends]
            found.append((hop, link.latency + hop.nbytes / link.bandwidth))
    return found
