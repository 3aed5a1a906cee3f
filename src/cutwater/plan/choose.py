"""choose: plans a person decides, wholly or in part, scored like any other so that they stand beside the best one.

Whatever is left open (nodes, codecs) is chosen by the exact solver among what the decision allows.
"""

from dataclasses import dataclass, replace

import numpy as np

from cutwater.errors import BadCut, InputError, NoPlan, did_you_mean
from cutwater.plan.objective import Objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Limits, Problem
from cutwater.plan.solve import as_plan
from cutwater.plan.solvers.base import Effort
from cutwater.plan.solvers.exact import exact
from cutwater.plan.solvers.wide import restricted

MODES = ("only-source", "only-remote", "even")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person has decided. Either a mode, or cuts and nodes."""

    mode: str | None = None
    """"only-source": the whole model at the source; "only-remote": on one other node; "even": equal FLOPs per node."""
    cuts: tuple[int, ...] = ()
    """Between the stages, as indices of the problem's cuts."""
    nodes: tuple[str | None, ...] = ()
    """Per stage its node; None or missing: the solver's choice. With "even": the nodes in
    order; none: as many as there are stages, in the order that suits them best."""
    stages: int | None = None
    """How many; None: with "even" one per node (named, or of the fleet), otherwise as the mode or the cuts say."""


def decided_plan(problem: Problem, objective: Objective, decision: Decision, best: Plan) -> Plan:
    """The decided plan with its score; its bound is that of ``best``, so its gap says what the decision costs.

    Raises:
        BadCut: There is no such cut, or the cuts do not lie one before the other.
        InputError: There is no such mode or node.
        NoPlan: The decision breaks a limit; the message says which.
    """
    cuts, limits = _read(problem, decision)
    fewer = replace(restricted(problem, [0, *cuts, problem.last]), limits=limits)
    if decision.mode == "only-remote":
        runs = problem.runs.copy()
        runs[problem.source] = False
        fewer = replace(fewer, runs=runs)
    solution = exact(fewer, objective, Effort(rng=np.random.default_rng(0)))
    if solution.choice is None:
        raise NoPlan(f"{decision.mode or 'the chosen cuts and nodes'}: no such placement keeps the limits")
    at = [0, *cuts, problem.last]
    choice = replace(solution.choice, cuts=tuple(at[cut] for cut in solution.choice.cuts))
    plan = as_plan(problem, objective, replace(solution, choice=choice, solver=decision.mode or "by hand"))
    value = objective.shown(solution.value)
    gap = value / best.bound - 1.0 if objective.aim == "latency" else 1.0 - value / best.bound
    return Plan(**{name: getattr(plan, name) for name in plan.__struct_fields__} | {"bound": best.bound, "gap": gap})


def _read(problem: Problem, decision: Decision) -> tuple[list[int], Limits]:
    if decision.mode is not None and decision.mode not in MODES:
        raise InputError(f"there is no mode {decision.mode!r}{did_you_mean(decision.mode, MODES)}")
    if decision.mode is not None and decision.cuts:
        raise InputError(f"the mode {decision.mode!r} says where to cut; leave out the cuts, or the mode")
    if decision.mode in ("only-source", "only-remote"):
        if decision.nodes:
            raise InputError(f"the mode {decision.mode!r} says on which node; leave out the nodes, or the mode")
        _agree(decision, 1)
        return [], Limits(max_stages=1, pins={0: problem.source} if decision.mode == "only-source" else {})
    if decision.mode == "even":
        nodes = [_node(problem, name) for name in decision.nodes if name]
        stages = decision.stages or len(nodes) or int(problem.runs.sum())
        _agree(decision, stages)
        return even_cuts(problem, stages), _exactly(stages, dict(enumerate(nodes)))
    cuts = list(decision.cuts)
    for begin, end in zip([0, *cuts], [*cuts, problem.last], strict=True):
        if not problem.below(begin, end):
            raise BadCut(f"the cut {problem.cuts[begin].label!r} does not lie before {problem.cuts[end].label!r}")
    _agree(decision, len(cuts) + 1)
    pins = {k: _node(problem, name) for k, name in enumerate(decision.nodes) if name is not None}
    return cuts, _exactly(len(cuts) + 1, pins)


def _agree(decision: Decision, stages: int) -> None:
    """What else was decided must be possible with so many stages."""
    many = f"{stages} stage{'s' * (stages > 1)}"
    if decision.stages not in (None, stages):
        raise InputError(f"{decision.stages} stages are asked for, but the rest of the decision makes {many}")
    if len(decision.nodes) > stages:
        raise InputError(f"{len(decision.nodes)} nodes are named for {many}; name fewer, or cut more often")


def _exactly(stages: int, pins: dict[int, int]) -> Limits:
    return Limits(min_stages=stages, max_stages=stages, pins=pins)


def _node(problem: Problem, name: str) -> int:
    if name not in problem.nodes:
        raise InputError(f"there is no node {name!r}{did_you_mean(name, problem.nodes)}")
    return [str(node) for node in problem.nodes].index(name)


def even_cuts(problem: Problem, stages: int) -> list[int]:
    """Cuts one after the other, each as near to its equal share of the FLOPs as there is one.

    Raises:
        BadCut: The model has too few cuts in a row.
    """
    cuts: list[int] = []
    for k in range(1, stages):
        masks = problem.masks
        begin = cuts[-1] if cuts else 0
        after = ~np.any(masks[begin] & ~masks, axis=1)
        after[[begin, problem.last]] = False
        if not after.any():
            raise BadCut(f"the model cannot be cut into {stages} stages of equal FLOPs")
        miss = np.where(after, np.abs(problem.flops - problem.flops[-1] * k / stages), np.inf)
        cuts.append(int(np.lexsort((problem.border, miss))[0]))
    return cuts
