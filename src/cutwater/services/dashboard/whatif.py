"""whatif: what another cut, or another node, would do to a deployment; by the same planner that would bring it up.

Reading a model takes seconds and memory, so this runs in a process of its own, see `forecaster`.
"""

from collections.abc import Sequence
from itertools import permutations

import msgspec
import numpy as np

from cutwater.cut.cut import Cut
from cutwater.cut.lattice import chain_cuts
from cutwater.engine.control import MakePlan
from cutwater.engine.fault import Fault
from cutwater.errors import CutwaterError
from cutwater.plan.plan import Plan
from cutwater.plan.problem import RAW, Choice, Problem
from cutwater.plan.score import Tally, tally
from cutwater.services.coordinator.library import Library, Subject
from cutwater.services.coordinator.planner import drafted, problem_of
from cutwater.services.dashboard.forecasts import (
    AskChart,
    AskForecast,
    CutChart,
    CutPoint,
    Forecast,
    HopForecast,
    StageForecast,
    Told,
)
from cutwater.services.dashboard.view import resource_words
from cutwater.units import NodeId

NODES = 5
"""Nodes that the chart of cuts is made with: the fastest ones."""
CUTS = 160
"""Most cuts of the chart, spread evenly."""


def answer(asked: AskChart | AskForecast, library: Library) -> Told:
    """Work it out; whatever cannot be is said in the answer."""
    try:
        subject = library.subject(asked.command.record)
        if isinstance(asked, AskChart):
            return Told(chart=chart(asked.command, subject))
        return Told(forecast=forecast(asked.command, subject))
    except CutwaterError as error:
        return Told(fault=Fault.of(error, "forecaster"))


def chart(command: MakePlan, subject: Subject) -> CutChart:
    """See `CutChart`. Raises NoPlan where there are no nodes."""
    free = msgspec.structs.replace(command.spec, cuts=(), places=(), stages=None)
    problem = problem_of(msgspec.structs.replace(command, spec=free), subject)
    cuts = _spread(chain_cuts(subject.lattice)[1:-1])
    first, last = subject.lattice.cuts[0], subject.lattice.cuts[-1]
    able = [int(node) for node in np.flatnonzero(problem.runs)]
    able = sorted(able, key=lambda node: (float(problem.prefix[node, -1]), node))
    names = _names(cuts, subject)
    total = max(subject.lattice.graph.flops, 1)
    points = []
    for cut in cuts:
        found = _best_pair(problem, subject.lattice.position[cut.before], able[:NODES])
        if found is not None:
            throughput, latency, places = found
            points.append(
                CutPoint(
                    name=names[cut.before],
                    label=cut.label,
                    share=cut.flops_before / total,
                    nbytes=cut.border_bytes,
                    tensors=cut.width,
                    throughput=throughput,
                    latency=latency,
                    places=places,
                )
            )
    return CutChart(
        points=tuple(points),
        flops=subject.lattice.graph.flops,
        input_bytes=first.border_bytes,
        output_bytes=last.border_bytes,
        nodes=tuple(sorted(problem.nodes[node] for node in able)),
    )


def forecast(command: MakePlan, subject: Subject) -> Forecast:
    """See `Forecast`. Raises NoPlan, BadCut, InputError."""
    plan = drafted(command, subject)[0]
    free = msgspec.structs.replace(command.spec, cuts=(), places=(), stages=None)
    best = drafted(msgspec.structs.replace(command, spec=free), subject)[0]
    flops = {f"{cut.before:x}": cut.flops_before for cut in subject.lattice.cuts}
    total = max(subject.lattice.graph.flops, 1)
    return Forecast(
        throughput=plan.score.throughput,
        latency=plan.score.latency,
        bottleneck=resource_words(plan.score.bottleneck),
        stages=tuple(
            StageForecast(
                begin=stage.begin.label,
                end=stage.end.label,
                node=score.node,
                share=flops[stage.end.before] / total,
                compute=score.compute,
                transfer=score.busy - score.compute,
                memory=score.memory,
            )
            for stage, score in zip(plan.stages, plan.score.stages, strict=False)
        ),
        hops=tuple(
            HopForecast(codec=hop.codec, nbytes=round(hop.nbytes or hop.back_bytes), seconds=hop.latency)
            for hop in plan.score.hops
        ),
        best_throughput=best.score.throughput,
        best_latency=best.score.latency,
        best_cuts=_inner(best),
        best_places=tuple(stage.nodes[0] for stage in best.stages),
    )


def _inner(plan: Plan) -> tuple[str, ...]:
    return tuple(stage.end.label for stage in plan.stages[:-1])


def _spread(cuts: Sequence[Cut]) -> list[Cut]:
    if len(cuts) <= CUTS:
        return list(cuts)
    return [cuts[round(k * (len(cuts) - 1) / (CUTS - 1))] for k in range(CUTS)]


def _names(cuts: Sequence[Cut], subject: Subject) -> dict[int, str]:
    """Its label where no other cut is called so, else its index."""
    lattice = subject.lattice
    first = {cut.label: index for index, cut in reversed(list(enumerate(lattice.cuts)))}
    return {
        cut.before: cut.label if first[cut.label] == lattice.position[cut.before] else str(lattice.position[cut.before])
        for cut in cuts
    }


def _best_pair(problem: Problem, cut: int, able: Sequence[int]) -> tuple[float, float, tuple[NodeId, NodeId]] | None:
    """The highest throughput of two stages, the least latency, and where the first is had; None: nowhere."""
    tallied: list[tuple[Tally, tuple[int, ...]]] = []
    for pair in permutations(able, 2):
        for codec in np.flatnonzero(problem.allowed[:, cut]):
            choice = Choice(tuple((node,) for node in pair), (0, cut, problem.last), (RAW, int(codec), RAW))
            found = tally(problem, choice)
            if np.isfinite(found.latency):
                tallied.append((found, pair))
    if not tallied:
        return None
    fastest, (one, other) = min(tallied, key=lambda each: each[0].period)
    latency = min(found.latency for found, _ in tallied)
    return 1.0 / fastest.period, latency, (problem.nodes[one], problem.nodes[other])
