"""The planner: from what a person wants, a model and the nodes there are, to a blueprint ready to be brought up.

It knows no fabric and no clock but its time limit: blobs in, blobs out, through a `Library`.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import msgspec
import numpy as np

from cutwater.cut.lattice import find_cut
from cutwater.engine.control import MakePlan, NodeView, Planned
from cutwater.engine.facts.deployments import Blueprint, Chain, Door, Post, WholeModel
from cutwater.engine.fault import Fault
from cutwater.errors import BadModel, CutwaterError, NoPlan, did_you_mean
from cutwater.plan.build import build_problem
from cutwater.plan.choose import Decision, decided_plan
from cutwater.plan.objective import Objective, parse_objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Choice, Limits, Problem
from cutwater.plan.score import contention_factors, tally, unchecked_score
from cutwater.plan.solve import make_plan, plan_stages
from cutwater.plan.solvers.base import Effort
from cutwater.services.coordinator.fleet import choose, fleet_of
from cutwater.services.coordinator.library import Library, Subject
from cutwater.services.coordinator.spread import Room, room_of, spares, stage_seconds, take, widen
from cutwater.services.workers.stages import plan_cuts
from cutwater.units import NodeId, Seconds, StageId
from cutwater.wire.codecs.registry import get_codec

MOST_NODES = 12
"""How many nodes one chain is planned over; of a larger fleet the fastest."""
TIME_LIMIT: Seconds = 5.0
"""For the search of one chain's plan; then the best found so far is it."""
WHOLE = StageId("whole")
"""The stage that is the uncut model."""


def answer(command: MakePlan, library: Library) -> Planned:
    """Plan and cut; whatever cannot be is said in the answer."""
    try:
        return _Planning(command, library.subject(command.record)).answer(library)
    except CutwaterError as error:
        return Planned(model=command.spec.model, ticket=command.ticket, fault=Fault.of(error, "planner"))


def drafted(command: MakePlan, subject: Subject) -> tuple[Plan, ...]:
    """The plans of the chains that `answer` would cut. Raises NoPlan, BadCut."""
    return tuple(draft.plan for draft in _Planning(command, subject).drafts())


def problem_of(command: MakePlan, subject: Subject) -> Problem:
    """What `answer` chooses from, whatever was decided. Raises NoPlan."""
    return _Planning(command, subject).allowed()


@dataclass(frozen=True)
class _Draft:
    """One chain, planned and not yet cut."""

    plan: Plan
    choice: Choice
    spares: list[tuple[int, int]]
    problem: Problem
    """With the nodes it was chosen from."""


class _Planning:
    """One command being worked on."""

    def __init__(self, command: MakePlan, subject: Subject) -> None:
        self.command = command
        self.subject = subject
        self.objective: Objective = parse_objective(command.spec.objective)
        self.views = _wanted(command)
        most = MOST_NODES + (command.spec.chains - 1) * MOST_NODES // 2
        chosen = choose(self.views, most, {node for node in command.spec.places if node})
        self.sizes = {view.announcement.node: float(view.announcement.hardware.memory) for view in self.views}
        self.able: set[NodeId] = {view.announcement.node for view in chosen}
        spec = command.spec
        wanted = len(spec.cuts) + 1 if spec.cuts else spec.stages or len(spec.places) or None
        # Fewer stages than wanted are better than none, whether the nodes have gone or were never there.
        self.stages = None if wanted is None else min(wanted, len(self.able))
        self.cuts: tuple[int, ...] = ()
        if spec.cuts and self.stages == wanted:
            lattice = subject.lattice
            self.cuts = tuple(lattice.position[find_cut(lattice, text).before] for text in spec.cuts)
        self.places = tuple(node if node in self.able else None for node in spec.places[: self.stages])
        everyone = choose(command.nodes, 0, self.able | _nodes_of(command.live))
        fleet = fleet_of(command, everyone, subject.profile)
        self.problem = build_problem(subject.lattice, subject.profile, fleet, budget=spec.budget, batch=spec.batch)

    def answer(self, library: Library) -> Planned:
        """The blueprint, with what it and the live one are worth."""
        current = self._worth(_live_choices(self.problem, self.command.live))
        try:
            drafts = self.drafts()
        except NoPlan as error:
            return Planned(
                model=self.command.spec.model,
                ticket=self.command.ticket,
                current=current,
                fault=Fault.of(error, "planner"),
                short=self._short(),
            )
        return Planned(
            model=self.command.spec.model,
            ticket=self.command.ticket,
            blueprint=self._blueprint(drafts, library),
            current=current,
            best=self._worth([draft.choice for draft in drafts]),
        )

    # Deciding

    def allowed(self) -> Problem:
        """The problem in which only the nodes that were chosen run stages."""
        at = {name: k for k, name in enumerate(self.problem.nodes)}
        return replace(self.problem, runs=_only(self.problem, [at[name] for name in self.able]))

    def drafts(self) -> list[_Draft]:
        """One draft for each chain wanted, as far as there are nodes for it. Raises NoPlan if there are for none."""
        spec = self.command.spec
        problem = self.allowed()
        room = room_of(problem)
        free = sorted(room, key=lambda node: (problem.nodes[node] not in self.places, float(problem.prefix[node, -1])))
        drafts: list[_Draft] = []
        for _ in range(spec.chains):
            own = replace(problem, runs=_only(problem, free[:MOST_NODES]))
            try:
                plan = self._solve(own)
            except NoPlan:
                if not drafts:
                    raise
                break
            choice = _choice_of(own, plan)
            assert choice is not None
            take(own, choice, room)
            free = [node for node in free if not any(node in stage for stage in choice.nodes)]
            choice = widen(own, choice, spec.replicas, free, room)
            drafts.append(_Draft(self._scored(own, plan, choice), choice, [], own))
        used = {node for draft in drafts for stage in draft.choice.nodes for node in stage}
        return [self._with_spares(draft, used, room) for draft in drafts]

    def _solve(self, problem: Problem) -> Plan:
        """The best plan, which never does worse than the best node alone where that is allowed."""
        best = self._plan(problem)
        if self.stages is not None or len(best.stages) == 1:
            return best
        try:
            single = make_plan(replace(problem, limits=Limits(max_stages=1)), self.objective, effort=_effort())
        except NoPlan:
            return best  # no node can hold it alone
        return min(best, single, key=lambda plan: self._value(problem, plan))

    def _short(self) -> bool:
        """Whether there would be a plan if nothing else ran on the nodes."""
        memory = self.problem.memory.copy()
        for k, name in enumerate(self.problem.nodes):
            memory[k] = self.sizes.get(name, memory[k])
        try:
            self._plan(replace(self.allowed(), memory=memory))
        except NoPlan:
            return False
        return True

    def _plan(self, problem: Problem) -> Plan:
        """The best plan of those that are as was decided. Raises NoPlan."""
        span = self.command.span
        if not self.cuts and self.stages is None and span is not None:
            narrow = replace(problem, limits=Limits(max_stages=span))
            with contextlib.suppress(NoPlan):  # where so few nodes cannot hold it, more of them are better than none
                return make_plan(narrow, self.objective, effort=_effort())
        if not self.cuts:
            return make_plan(replace(problem, limits=self._limits(problem)), self.objective, effort=_effort())
        stages = len(self.cuts) + 1
        limits = Limits(min_stages=stages, max_stages=stages)
        best = make_plan(replace(problem, limits=limits), self.objective, effort=_effort())
        return decided_plan(problem, self.objective, Decision(cuts=self.cuts, nodes=self.places), best)

    def _limits(self, problem: Problem) -> Limits:
        stages = self.stages
        if stages is None:
            return Limits()
        at = {name: k for k, name in enumerate(problem.nodes)}
        pins = {k: at[name] for k, name in enumerate(self.places) if name is not None}
        return Limits(min_stages=stages, max_stages=stages, pins=pins)

    def _missed(self, draft: _Draft) -> int:
        """Of the cuts and places that were decided, how many the draft does not have."""
        spec = self.command.spec
        placed = [stage.nodes for stage in draft.plan.stages]
        missed = sum(bool(node) and (k >= len(placed) or node not in placed[k]) for k, node in enumerate(spec.places))
        return missed + (0 if self.cuts else len(spec.cuts))

    def _value(self, problem: Problem, plan: Plan) -> float:
        choice = _choice_of(problem, plan)
        assert choice is not None
        return self.objective.value(problem, tally(problem, choice))

    def _scored(self, problem: Problem, plan: Plan, choice: Choice) -> Plan:
        """The plan with the replicas of ``choice``; no plan's bound is below what it is predicted to do."""
        score = unchecked_score(problem, choice)
        value = self.objective.shown(self.objective.value(problem, tally(problem, choice)))
        bound = max(plan.bound, value) if self.objective.aim == "throughput" else min(plan.bound, value)
        stages = plan_stages(problem, choice)
        return msgspec.structs.replace(plan, stages=stages, score=score, bound=bound)

    def _with_spares(self, draft: _Draft, used: set[int], room: Room) -> _Draft:
        wanted = self.command.spec.spares
        return replace(draft, spares=spares(draft.problem, draft.choice, wanted, used, room))

    def _worth(self, choices: Sequence[Choice]) -> float | None:
        """What chains achieve together on the objective; None if there are none, or a way of theirs is broken."""
        found: dict[Choice, float] = {}
        for choice in choices:
            total = tally(self.problem, choice)
            value = self.objective.value(self.problem, total)
            if isfinite(value) and isfinite(total.latency):
                found[choice] = self.objective.shown(value)
        if not found:
            return None
        if self.objective.aim == "latency":
            return min(found.values())
        return sum(found.values()) * _shared(self.problem, list(found))

    # Cutting

    def _blueprint(self, drafts: Sequence[_Draft], library: Library) -> Blueprint:
        chains = tuple(self._chain(draft, library) for draft in drafts)
        return Blueprint(
            model=self.command.spec.model,
            chains=chains,
            throughput=sum(draft.plan.score.throughput for draft in drafts)
            * _shared(self.problem, [draft.choice for draft in drafts]),
            latency=min(draft.plan.score.latency for draft in drafts),
            whole=self._whole(library) if self.command.spec.fallback else None,
            missed=max(map(self._missed, drafts)),
        )

    def _chain(self, draft: _Draft, library: Library) -> Chain:
        cuts = plan_cuts(self.subject.lattice, draft.plan)
        forms = [get_codec(name).form for name in draft.plan.codecs]
        parts = tuple(
            library.part(self.subject, StageId(f"stage-{k + 1}"), cuts[k], cuts[k + 1], forms[k], forms[k + 1])
            for k in range(len(cuts) - 1)
        )
        codecs = draft.plan.codecs
        return Chain(
            plan=draft.plan,
            parts=parts,
            posts=_posts(draft),
            entry=Door(border=cuts[0].border, travelling=parts[0].inputs, codec=codecs[0]),
            exit=Door(border=cuts[-1].border, travelling=parts[-1].outputs, codec=codecs[-1]),
            batch=self.command.spec.batch,
        )

    def _whole(self, library: Library) -> WholeModel | None:
        begin, end = self.subject.lattice.cuts[0], self.subject.lattice.cuts[-1]
        raw = get_codec("raw").form
        try:
            part = library.part(self.subject, WHOLE, begin, end, raw, raw)
        except BadModel:
            return None  # too large for one file: then no gateway can hold it either
        return WholeModel(
            part=part,
            entry=Door(border=begin.border, travelling=part.inputs, codec="raw"),
            exit=Door(border=end.border, travelling=part.outputs, codec="raw"),
            memory=round(replace(self.problem, batch=1).stage_memory(self.problem.source, 0, self.problem.last)),
        )


def _wanted(command: MakePlan) -> list[NodeView]:
    """The nodes a person allows. Raises NoPlan."""
    names = {view.announcement.node for view in command.nodes}
    if not names:
        raise NoPlan("no node is there; start one with `cutwater up`, or let one join")
    allowed = command.spec.nodes
    views = [view for view in command.nodes if not allowed or view.announcement.node in allowed]
    if not views:
        hint = did_you_mean(allowed[0], sorted(names))
        raise NoPlan(f"none of the nodes named for {command.spec.model} is there{hint}")
    return views


def _nodes_of(blueprint: Blueprint | None) -> set[NodeId]:
    chains = blueprint.chains if blueprint is not None else ()
    return {post.node for chain in chains for post in chain.posts}


def _live_choices(problem: Problem, live: Blueprint | None) -> list[Choice]:
    """The chains of a blueprint that can still run, on the nodes that are left of each stage, spares included."""
    found = []
    for chain in live.chains if live is not None else ():
        stages = []
        for k, stage in enumerate(chain.plan.stages):
            placed = [post for post in chain.posts if post.stage == k]
            normal = tuple(p.node for p in placed if not p.spare and p.node in problem.nodes)
            spare = tuple(p.node for p in placed if p.spare and p.node in problem.nodes)
            stages.append(msgspec.structs.replace(stage, nodes=normal or spare))
        choice = _choice_of(problem, msgspec.structs.replace(chain.plan, stages=tuple(stages)))
        if choice is not None:
            found.append(choice)
    return found


def _choice_of(problem: Problem, plan: Plan) -> Choice | None:
    """A plan in the indices of a problem; None where it has a stage without nodes, or a cut or codec not there."""
    nodes = {name: k for k, name in enumerate(problem.nodes)}
    cuts = {cut.before: k for k, cut in enumerate(problem.cuts)}
    codecs = {name: k for k, name in enumerate(problem.codecs)}
    borders = [plan.stages[0].begin, *(stage.end for stage in plan.stages)]
    if (
        plan.model_hash != problem.model_hash
        or not all(stage.nodes for stage in plan.stages)
        or not all(cut.before in cuts for cut in borders)
        or not all(name in codecs for name in plan.codecs)
    ):
        return None
    return Choice(
        nodes=tuple(tuple(nodes[name] for name in stage.nodes) for stage in plan.stages),
        cuts=tuple(cuts[cut.before] for cut in borders),
        codecs=tuple(codecs[name] for name in plan.codecs),
    )


def _posts(draft: _Draft) -> tuple[Post, ...]:
    problem, choice = draft.problem, draft.choice
    factors = contention_factors(problem, choice)
    spare = [(k, node, True) for k, node in draft.spares]
    normal = [(k, node, False) for k, stage in enumerate(choice.nodes) for node in stage]
    return tuple(
        Post(
            stage=k,
            node=problem.nodes[node],
            seconds=stage_seconds(problem, node, choice.cuts[k], choice.cuts[k + 1]) * factors.get(node, 1.0),
            memory=round(problem.stage_memory(node, choice.cuts[k], choice.cuts[k + 1])),
            spare=is_spare,
        )
        for k, node, is_spare in (*normal, *spare)
    )


def _shared(problem: Problem, choices: Sequence[Choice]) -> float:
    """The share of their rates that chains keep when all of them are busy: at most 1, by the fullest host's cores."""
    loads: dict[int, float] = {}
    for choice in choices:
        total = tally(problem, choice)
        for host, seconds in total.hosts.items():
            loads[host] = loads.get(host, 0.0) + seconds / total.period
    return 1.0 / max([1.0, *loads.values()])


def _only(problem: Problem, nodes: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    runs = np.zeros(len(problem.nodes), np.bool_)
    runs[list(nodes)] = True
    return runs & problem.runs


def _effort() -> Effort:
    until = time.monotonic() + TIME_LIMIT
    return Effort(rng=np.random.default_rng(0), go_on=lambda: time.monotonic() < until, labels=20_000)
