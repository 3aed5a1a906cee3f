"""The scene: pictures stream through a deployed model while a node is killed, until the survivors answer by a plan."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.gateways import ModelTally, Note
from cutwater.errors import NoReply, NotFound
from cutwater.fabric.base import Fabric, Message
from cutwater.lab.demo.exam import MODEL
from cutwater.lab.demo.leftovers import births
from cutwater.lab.demo.strangers import Strangers
from cutwater.lab.demo.stream import Answer, Stream, longest_silence, phase
from cutwater.lab.measure import Progress
from cutwater.lab.trial import ALONE, Failed, Phase, Trial, fold
from cutwater.plan.plan import Plan
from cutwater.services.asking import ClusterStatus, GetStatus, ask_coordinator
from cutwater.services.cluster.cluster import FABRIC
from cutwater.services.coordinator.state import read_state
from cutwater.services.facts import NOTES, STATE, decode
from cutwater.services.home import Home
from cutwater.units import NodeId, Seconds

IN_FLIGHT = 16
"""Enough that every stage has a request to compute and one that waits."""
LIMIT: Seconds = 40.0
"""Until a plan must answer."""
SETTLED: Seconds = 0.5
"""After a switch: what is under way on the old ways is answered."""
GLANCE: Seconds = 0.25
"""Between two looks at the stream."""


@dataclass(frozen=True)
class Glance:
    """How the stream stands."""

    elapsed: Seconds
    rate: float
    """Answers in the last second."""
    asked: int
    answered: int
    degraded: int
    failed: int


@dataclass(frozen=True)
class Audience:
    """Who is told what happens."""

    step: Callable[[str], None]
    """The command that does by hand what is done now."""
    tell: Callable[[str], None]
    progress: Progress
    glance: Callable[[Glance], None]


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """What happened while pictures streamed; moments by `clock`, None for what did not happen."""

    victim: NodeId
    asked: int
    answers: list[Answer]
    failures: list[Failed]
    repeated: int
    """Answers to requests that had one already."""
    began: Seconds
    killed: Seconds
    missed: Seconds | None
    """When the coordinator knew that the node was gone."""
    planned: Seconds | None
    """When the survivors' plan was there and began to be brought up."""
    switched: Seconds | None
    """When it answered."""
    ended: Seconds
    """When no more were streamed; a few were asked one at a time afterwards."""
    before: Trial
    after: Trial | None
    taken: tuple[float, float]
    """Share of this machine's cores that other processes took, before the kill and after the switch."""
    tally: ModelTally | None
    """The gateway's own count."""
    known: dict[int, str]
    """The cluster's processes: pid -> birth."""
    url: str
    """Where its fabric listened."""

    @property
    def survivors(self) -> list[NodeId]:
        """The nodes of the plan that answers in the end; none where there is none."""
        return [node for stage in self.after.plan.stages for node in stage.nodes] if self.after is not None else []

    @property
    def silence(self) -> tuple[Seconds, Seconds]:
        """When the longest time without an answer after the kill began and ended."""
        return longest_silence(self.answers, self.killed, self.ended)

    @property
    def degraded(self) -> int:
        """Answers that the gateway gave by itself."""
        return sum(answer.outcome.degraded for answer in self.answers)


class Scene:
    """The stream, and what befalls the cluster meanwhile."""

    def __init__(self, fabric: Fabric, home: Home, plan: Plan, stream: Stream, audience: Audience) -> None:
        self._fabric, self._home, self._plan = fabric, home, plan
        self._stream, self._audience = stream, audience
        self._victim = plan.stages[len(plan.stages) // 2].nodes[0]
        self._began = 0.0
        self._killed: Seconds | None = None
        self._happened: dict[str, Seconds] = {}
        """Kind of note -> when the first one came after the kill."""
        self._switched = asyncio.Event()

    async def play(self, steady: Seconds) -> Streamed:
        alone = await self._stream.alone(ALONE)
        self._began = clock()
        notes = await self._fabric.subscribe(NOTES, self._note)
        over = asyncio.Event()
        asking = asyncio.create_task(self._stream.run(IN_FLIGHT, over))
        with self._watched():
            known, url = births(self._home), self._home.alive()[FABRIC].facts["url"]
            strangers = Strangers(known)
            await _unless(asking, steady)
            taken_before = strangers.share()
            killed = self._kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIMIT):
                    await self._switched.wait()
            strangers = Strangers(births(self._home))
            await _unless(asking, steady)
            taken_after = strangers.share()
            over.set()
            await asking
        ended = clock()
        await notes.close()
        return Streamed(
            victim=self._victim,
            before=self._before(alone, killed),
            after=await self._after(ended),
            asked=self._stream.asked,
            answers=self._stream.answers,
            failures=self._stream.failures,
            repeated=self._stream.repeated,
            began=self._began,
            killed=killed,
            ended=ended,
            missed=self._happened.get("lost"),
            planned=self._happened.get("rolling-out"),
            switched=self._happened.get("replanned"),
            taken=(taken_before, taken_after),
            tally=await _tally(self._fabric, len(self._stream.answers)),
            known=known,
            url=url,
        )

    def _kill(self) -> Seconds:
        pid = self._home.alive()[self._victim].pid
        self._audience.step(f"kill -9 {pid}    # {self._victim}, which runs the stage in the middle")
        os.kill(pid, signal.SIGKILL)
        self._killed = clock()
        return self._killed

    async def _note(self, message: Message) -> None:
        """What the coordinator says."""
        note = decode(message.data, Note)
        if self._killed is None or note.about not in (self._victim, MODEL):
            return
        now = clock()
        self._happened.setdefault(note.kind, now)
        self._audience.tell(f"{now - self._killed:.2f} s after the kill: {note.kind} {note.about}: {note.text}")
        if note.kind == "replanned":
            self._switched.set()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Tell how it stands, again and again."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        silent = back = False
        while True:
            now, stream = clock(), self._stream
            degraded = sum(answer.outcome.degraded for answer in stream.answers)
            rate = stream.rate(min(1.0, max(now - self._began, GLANCE)), now)
            counts = (stream.asked, len(stream.answers), degraded, len(stream.failures))
            self._audience.glance(Glance(now - self._began, rate, *counts))
            if self._killed is not None and not back:
                last = stream.answers[-1]
                silent = silent or now - last.came > GLANCE
                back = silent and now - last.came < GLANCE
                if back:
                    by = "the gateway itself, degraded" if last.outcome.degraded else "the nodes"
                    self._audience.tell(f"{last.came - self._killed:.2f} s after the kill: answers flow again, by {by}")
            await asyncio.sleep(GLANCE)

    def _before(self, alone: Phase, killed: Seconds) -> Trial:
        answers = [each for each in self._stream.answers if self._began <= each.asked and each.came <= killed]
        loaded = phase(answers, self._began, killed)
        return fold(self._plan, alone, loaded, requests=len(alone.outcomes) + len(answers))

    async def _after(self, ended: Seconds) -> Trial | None:
        """What the survivors do by their own plan; None: there never was one."""
        switched = self._happened.get("replanned")
        if switched is None:
            return None
        plan = await live_plan(self._fabric)
        begin = switched + SETTLED
        answers = [each for each in self._stream.answers if each.asked >= begin and _by(each, plan)]
        last = len(self._stream.answers)
        await self._stream.alone(ALONE)
        single = [each for each in self._stream.answers[last:] if _by(each, plan)]
        alone = phase(single, 0.0, sum(each.outcome.latency for each in single))
        return fold(plan, alone, phase(answers, begin, ended), requests=len(answers) + ALONE)


def _by(answer: Answer, plan: Plan) -> bool:
    """Whether the answer has come through this plan's stages."""
    return not answer.outcome.degraded and len(answer.outcome.trail) == len(plan.stages)


async def _unless(asking: "asyncio.Task[None]", seconds: Seconds) -> None:
    """Let so much time pass. Raises what the asking ended with, should it end."""
    done, _ = await asyncio.wait((asking,), timeout=seconds)
    if done:
        asking.result()


async def live_plan(fabric: Fabric) -> Plan:
    """The plan that answers now. Raises NotFound where none does."""
    known = await read_state(await fabric.keys(STATE))
    for deployment in known.deployments:
        for epoch in deployment.epochs:
            if deployment.spec.model == MODEL and epoch.phase is EpochPhase.LIVE:
                return epoch.blueprint.chains[0].plan
    raise NotFound(f"{MODEL} has no live plan; `cutwater status` tells why")


async def _tally(fabric: Fabric, answered: int) -> ModelTally | None:
    """The gateway's count, once it has counted all answers; the last one it gave, if it never does."""
    found: ModelTally | None = None
    with contextlib.suppress(TimeoutError, NoReply):
        async with asyncio.timeout(LIMIT / 10):
            while found is None or found.answered < answered:
                status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
                tallies = [each for gateway in status.gateways for each in gateway.beat.models if each.model == MODEL]
                found = tallies[0] if tallies else None
                await asyncio.sleep(GLANCE)
    return found
