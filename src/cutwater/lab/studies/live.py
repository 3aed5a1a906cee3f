"""Live: a placement on real nodes under a case's requests, and what was seen of it; and the same in virtual time.

The simulator is given what was measured just before and just after, on the same workers: what stages compute under such
a load, what a node spends on a request besides, and what a request waits on its way. None of that is taken from the run
it is held against, and nothing is fitted to it. In hindsight it is given what stages and ways took in that very run
instead: what is left then is not the machine's doing, which is faster at one time than at another.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutwater.client.transport import Prepared
from cutwater.drivers.live import clock
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.nodes import Phase, WorkerState
from cutwater.errors import DeadlineExceeded, NoPlan
from cutwater.lab.drills.watch import model_of
from cutwater.lab.load.doubt import mean, share
from cutwater.lab.load.log import Log
from cutwater.lab.load.payloads import PayloadOptions
from cutwater.lab.load.sender import Sender, SendOptions
from cutwater.lab.load.target import Endpoint, Target
from cutwater.lab.studies.bench import Bench, Wanted
from cutwater.lab.studies.cases import Case, shape_of
from cutwater.lab.studies.loaded import StageSeconds, loaded_of
from cutwater.lab.studies.measured import Found, Spent, as_measured, per_request
from cutwater.lab.studies.results import LIVE, Row, Seen
from cutwater.lab.studies.study import PATIENT, Failure, Point
from cutwater.plan.many.served import Placement
from cutwater.plan.many.tracks import coupled, models_of
from cutwater.units import NodeId, Seconds
from cutwater.workload.schedule import Schedule
from cutwater.workload.workload import make

LONGEST: Seconds = 60.0
"""A request without an SLO may take."""
LATE: Seconds = 1.0
"""After its SLO an answer is still waited for so long."""
ALONE = (3, 12)
"""Requests, one at a time: first those that are not counted."""
FULL: Seconds = 5.0
"""So long all nodes are kept busy, to see what they can do."""
OTHERS: Seconds = 10.0
"""So long other requests come as they will, before those that count and after them."""
OTHER_SEED = 1_000_003
"""Further on: these are not to be the beginning of what is measured."""


def wanted(case: Case, placed: Placement, spares: int) -> dict[str, Wanted]:
    """The deployments that make a placement. Raises NoPlan for one that no deployment says."""
    names = [node.name for node in case.fleet.nodes]
    found: dict[str, Wanted] = {}
    for position, model in enumerate(case.served):
        at = [(group, replica) for group in placed.groups for replica in group.replicas if replica.model == position]
        if not at:
            continue
        cuts = {model.candidates[replica.candidate].cuts for _, replica in at}
        ways = frozenset(tuple(names[node] for node in group.nodes) for group, _ in at)
        if len(cuts) > 1:
            raise NoPlan(f"{model.name} is cut in several ways, which one deployment does not do")
        (where,) = cuts
        spec = DeploySpec(
            model=model.name,
            stages=len(where) + 1,
            cuts=where,
            places=next(iter(ways)) if len(ways) == 1 else (),
            nodes=() if len(ways) == 1 else tuple(sorted(node for way in ways for node in way)),
            chains=len(ways),
            spares=spares,
            fallback=False,
            timeout=LONGEST,
        )
        found[model.name] = Wanted(spec, ways)
    return found


async def seen(bench: Bench, model: str, nodes: Sequence[NodeId], share_of_core: float) -> Seen:
    """What a whole model takes on these nodes, all of them busy with it.

    Raises:
        CutwaterError: It is not deployed, or does not answer.
    """
    spec = DeploySpec(model=model, stages=1, nodes=tuple(nodes), chains=len(nodes), fallback=False, timeout=LONGEST)
    await bench.become({model: Wanted(spec, frozenset((node,) for node in nodes))})
    async with Target(Endpoint(bench.url)) as target:
        prepared = await target.prepared([model], PayloadOptions(), LONGEST)
        alone = await alone_seconds(prepared[model][0])
        rates = await kept_busy(prepared, 3 * len(nodes))
    return Seen(len(nodes) / rates[model] * share_of_core, alone)


async def alone_seconds(request: Prepared) -> Seconds:
    """What a request takes on average while there is no other."""
    taken = []
    for _ in range(sum(ALONE)):
        began = clock()
        await request()
        taken.append(clock() - began)
    return float(np.mean(taken[ALONE[0] :]))


async def kept_busy(prepared: Mapping[str, Sequence[Prepared]], at_once: int) -> dict[str, float]:
    """Answers per second to each model while there are always so many requests to each. Raises DeadlineExceeded."""
    ends: dict[str, list[Seconds]] = {model: [] for model in prepared}
    since = clock() + FULL / 5  # until then everybody gets going
    until = since + FULL

    async def client(model: str) -> None:
        while clock() < until:
            await prepared[model][0]()
            if since <= (now := clock()) < until:
                ends[model].append(now)

    await asyncio.gather(*(client(model) for model in prepared for _ in range(at_once)))
    for model, times in ends.items():
        if len(times) < 2:
            raise DeadlineExceeded(f"{model} was not answered twice in {FULL:g} s; study smaller models")
    return {model: (len(times) - 1) / (times[-1] - times[0]) for model, times in ends.items()}


class _Sample(NamedTuple):
    """Requests that do not count, and what workers had computed before and after them."""

    log: Log
    window: tuple[Spent, Spent]


class Attempt:
    """One placement at one point, live."""

    def __init__(self, bench: Bench, case: Case, placed: Placement, failure: Failure | None) -> None:
        self._bench, self._case, self._placed = bench, case, placed
        self._failure = failure
        self._models = [case.served[k].name for k in sorted(models_of(placed.groups))]
        lots = enumerate(coupled(placed))
        self._lots = {case.served[k].name: lot for lot, groups in lots for k in models_of(groups)}
        """Model -> the same for those that share nodes."""
        self._slos = {model.name: model.slo for model in case.served}
        self.log: Log
        self.stage_seconds: dict[str, StageSeconds] = {}
        """When -> what stages computed."""
        self.alone: dict[str, Seconds] = {}
        """Model -> latency of a request that is alone."""
        self.beside: dict[str, dict[str, Seconds]] = {}
        """When -> model -> what requests took beside computing and waiting for others."""
        self.back: Seconds | None = None
        """How long the killed workers were away; None: nobody was killed."""

    async def run(self) -> tuple[Case, Case]:
        """Measure, send, and measure again; the case with the costs of before and after, and in hindsight.

        Raises:
            CutwaterError: A model does not answer at all.
            asyncio.CancelledError: It was interrupted.
        """
        async with Target(Endpoint(self._bench.url)) as target:
            patient = await target.prepared(self._models, PayloadOptions(), LONGEST)
            await target.check(patient, LONGEST)
            found = await self._measure(patient)
            prepared: dict[str, Sequence[Prepared]] = {}
            for model in self._models:
                limit = min(self._slos[model], LONGEST)
                prepared |= await target.prepared([model], PayloadOptions(), limit)
            before = await self._other_requests(prepared, 1)
            self.log = Log(_only(self._case.schedule, self._models), slos=self._limits(), timings=True)
            since = await self._spent()
            await self._send(prepared)
            until = await self._spent()
            after = await self._other_requests(prepared, 2)
        computing = {**found.busy, **per_request(before.window, after.window)}
        loaded = loaded_of([before.log, after.log], computing, self._lots)
        computing = {**computing, **per_request((since, until))}
        meanwhile = loaded_of([self.log], computing, self._lots)
        self.stage_seconds = {"around": loaded.computing, "meanwhile": meanwhile.computing}
        self.alone = dict(found.alone)
        self.beside = {"around": dict(loaded.beside), "meanwhile": dict(meanwhile.beside)}
        around, hindsight = (as_measured(self._case, self._placed, found, each) for each in (loaded, meanwhile))
        return around, hindsight

    async def _send(self, prepared: Mapping[str, Sequence[Prepared]]) -> None:
        """The requests that count, and what fails meanwhile. Raises NoPlan, asyncio.CancelledError."""
        nobody: NoPlan | None = None
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(Sender(self.log, prepared, self._sending()).run())
                if self._failure is not None:
                    group.create_task(self._fail(self._failure))
        except* NoPlan as errors:
            nobody = next(error for error in errors.exceptions if isinstance(error, NoPlan))
        if nobody is not None:
            raise nobody
        if sending.result().interrupted:
            raise asyncio.CancelledError

    def row(self, point: Point, placement: str) -> Row:
        """What was seen."""
        log, case = self.log, self._case
        good = log.in_time
        latencies = (log.ended - log.due[: log.fired])[good]
        asked = case.schedule.requests
        attained = share(self._in_time())
        average = mean(latencies) if len(latencies) else None
        p50, p99 = np.quantile(latencies, (0.5, 0.99)).tolist() if len(latencies) else (None, None)
        late = (log.sent - log.due[: log.fired])[~np.isnan(log.sent)]
        facts = {
            "offered": asked / case.schedule.duration,
            "late p99": float(np.quantile(late, 0.99)) if len(late) else 0.0,
            **{
                f"{model} stage {k + 1} {when}": each
                for when, seconds in self.stage_seconds.items()
                for (model, k), each in sorted(seconds.items())
            },
        }
        facts |= {f"{model} alone": each for model, each in self.alone.items()}
        facts |= {f"{model} beside ({when})": each for when, one in self.beside.items() for model, each in one.items()}
        if self.back is not None:
            facts["back"] = self.back
        return Row(
            point=point,
            placement=placement,
            how=LIVE,
            shape=shape_of(self._placed, case.served),
            requests=asked,
            attainment=attained.value,
            attainment_margin=(attained.high - attained.low) / 2,
            mean=average.value if average else None,
            mean_margin=(average.high - average.low) / 2 if average else 0.0,
            p50=p50,
            p99=p99,
            facts=facts,
        )

    def _in_time(self) -> NDArray[np.bool_]:
        """Of all requests, in the order in which they were due; models that are nowhere are not asked."""
        _, model = self._case.schedule.merged()
        names = tuple(self._case.schedule.times)
        asked = np.isin(model, [k for k, name in enumerate(names) if name in self._models])
        in_time = np.zeros(len(model), bool)
        in_time[np.flatnonzero(asked)[: self.log.fired]] = self.log.in_time
        return in_time

    def _limits(self) -> dict[str, Seconds]:
        return {model: self._slos[model] for model in self._models if self._slos[model] < PATIENT}

    def _sending(self) -> SendOptions:
        return SendOptions(timeout=min(max(self._slos[model] for model in self._models), LONGEST) + LATE)

    # Measuring

    async def _measure(self, patient: Mapping[str, Sequence[Prepared]]) -> Found:
        before = await self._spent()
        alone = {model: await alone_seconds(patient[model][0]) for model in self._models}
        between = await self._spent()
        groups = self._placed.groups
        stages = max(len(group.nodes) for group in groups)
        ways = max(sum(model in group.models for group in groups) for model in models_of(groups))
        answered = await kept_busy(patient, ways * (stages + 1))
        after = await self._spent()
        return Found(alone, per_request((before, between)), answered, per_request((between, after)))

    async def _other_requests(self, prepared: Mapping[str, Sequence[Prepared]], turn: int) -> "_Sample":
        """Let other requests of the same workload come as they will, and see what they take."""
        workload = self._case.workload
        other = msgspec.structs.replace(workload, seed=workload.seed + turn * OTHER_SEED, duration=OTHERS)
        since = await self._spent()
        schedule = _only(make(other), self._models)
        log = Log(schedule, slos=self._limits(), timings=True)
        if schedule.requests and (await Sender(log, prepared, self._sending()).run()).interrupted:
            raise asyncio.CancelledError
        return _Sample(log, (since, await self._spent()))

    async def _spent(self) -> Spent:
        found: Spent = {}
        for worker in (await self._bench.workers()).values():
            model, stage = model_of(worker.worker), int(worker.worker.rsplit(".", 2)[1])
            found[model, stage, worker.pid or 0] = worker.spent, worker.served
        return found

    # Failing

    async def _fail(self, failure: Failure) -> None:
        """Kill all workers of a node, and see how long it takes until others serve in their place."""
        await asyncio.sleep(failure.at)
        node, watch = NodeId(f"node-{failure.node}"), self._bench.watch
        beat = watch.nodes.get(node)
        workers = beat.workers if beat is not None else ()
        victims = {each.worker: each.pid for each in workers if each.phase is Phase.READY and each.pid}
        if not victims:
            raise NoPlan(f"{node} runs nothing that could be killed; let another node fail")
        at = clock()
        for pid in victims.values():
            os.kill(pid, signal.SIGKILL)

        def back() -> str:
            now = {each.worker: each for each in watch.nodes[node].workers}
            return "back" if all(_again(now.get(worker), pid) for worker, pid in victims.items()) else ""

        seen = await watch.until(back, LONGEST)
        self.back = (seen[0] if seen else clock()) - at


def _again(worker: WorkerState | None, pid: int) -> bool:
    return worker is not None and worker.phase is Phase.READY and worker.pid != pid


def _only(schedule: Schedule, models: Sequence[str]) -> Schedule:
    times = {model: each for model, each in schedule.times.items() if model in models and len(each)}
    return msgspec.structs.replace(schedule, times=times)
