"""From a model to a plan for workers on this machine, whose stage times were measured, not only predicted from ops."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec

from cutwater.cut.cut import Cut
from cutwater.cut.lattice import Lattice, chain_cuts
from cutwater.errors import NoPlan
from cutwater.lab.measure import Progress, refine
from cutwater.lab.profiles import profile_for
from cutwater.lab.timing import Feeds, MeasureOptions, usable_cores
from cutwater.plan.build import build_problem
from cutwater.plan.choose import Decision, decided_plan
from cutwater.plan.fleet import LOCAL_LINK, Fleet, Link, local_fleet
from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Limits
from cutwater.plan.solve import make_plan
from cutwater.profile.profile import Profile
from cutwater.services.workers.stages import plan_cuts

ROUNDS = 4
"""How often to plan anew, at most, after the chosen stages were measured."""


@dataclass(frozen=True)
class LocalTask:
    """What is to be planned for this machine."""

    lattice: Lattice
    requests: Sequence[Feeds]
    """Typical requests."""
    stages: int | None = None
    """How many; None: one per core."""
    cuts: tuple[Cut, ...] = ()
    """Where a person wants it cut; empty: where it is best."""
    objective: Objective = Objective("throughput")  # noqa: RUF009
    measure: MeasureOptions = MeasureOptions()  # noqa: RUF009


def plan_locally(task: LocalTask, folder: Path, progress: Progress = lambda what, share: None) -> tuple[Plan, Profile]:
    """The best plan for workers on this machine, with the profile it was made from.

    Args:
        task: What to plan.
        folder: Where profiles are kept.
        progress: Told what is being done.

    Raises:
        NoPlan: There are fewer ops than stages asked for, or a limit cannot be kept.
    """
    stages = len(task.cuts) + 1 if task.cuts else task.stages or len(usable_cores())
    most = len(chain_cuts(task.lattice)) - 1
    if stages > most:
        raise NoPlan(f"{task.lattice.graph.name} parts into {most} stages at most; ask for no more, not {stages}")
    limits = Limits(min_stages=stages, max_stages=stages)
    graph = task.lattice.graph
    profile = profile_for(
        graph, task.requests, folder, options=task.measure, progress=lambda w, s: progress(w, 0.8 * s)
    )
    fleet = fleet_here(profile, stages)
    return plan_and_measure(task, profile, fleet, limits, progress=lambda w, s: progress(w, 0.8 + 0.2 * s))


def fleet_here(profile: Profile, workers: int) -> Fleet:
    """So many workers on this machine, with the cores, threads and hops of a profile measured on it."""
    link = LOCAL_LINK if profile.local is None else Link(**msgspec.structs.asdict(profile.local))
    fleet = local_fleet(workers, profile.conditions.cores, threads=profile.conditions.threads, link=link)
    crew = [node.name for node in fleet.nodes if node.name != fleet.source]
    there = [replace(link, source=fleet.source, target=name, send=profile.entrance) for name in crew]
    back = [replace(link, source=name, target=fleet.source, receive=profile.entrance) for name in crew]
    return replace(fleet, links=(*there, *back))


def plan_and_measure(
    task: LocalTask, profile: Profile, fleet: Fleet, limits: Limits, progress: Progress
) -> tuple[Plan, Profile]:
    """The best plan by what is known, after the stages it consists of were measured and it still is the best.

    Op times predict a stage to a few percent, and a search for the best cut finds where they flatter. So the chosen
    stages are run as in a pipeline, the profile learns from them, and planning starts over, until it chooses
    stages that have been measured.
    """
    graph = task.lattice.graph
    plan = _plan(task, profile, fleet, limits)
    for number in range(ROUNDS):
        known = {(stage.begin, stage.end) for stage in profile.stages if stage.as_run}
        spans = list(pairwise(plan_cuts(task.lattice, plan)))
        if all((f"{begin.before:x}", f"{end.before:x}") in known for begin, end in spans):
            break
        progress(f"the stages of plan {number + 1}", number / ROUNDS)
        profile = refine(profile, graph, spans, task.requests[0], task.measure, as_run=True)
        plan = _plan(task, profile, fleet, limits)
    return plan, profile


def _plan(task: LocalTask, profile: Profile, fleet: Fleet, limits: Limits) -> Plan:
    problem = build_problem(task.lattice, profile, fleet, limits=limits)
    best = make_plan(problem, task.objective)
    if not task.cuts:
        return best
    decision = Decision(cuts=tuple(task.lattice.position[cut.before] for cut in task.cuts))
    return decided_plan(problem, task.objective, decision, best)
