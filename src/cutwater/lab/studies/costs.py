"""Costs: for each model of a study the ways to run it, from figures or from what was measured on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.errors import NoPlan
from cutwater.frameworks.open import open_graph
from cutwater.lab.adding import Added, Addition, prepare
from cutwater.lab.planning import fleet_here
from cutwater.lab.studies.study import Study, StudyModel
from cutwater.plan.build import build_problem
from cutwater.plan.many.candidates import candidates_of
from cutwater.plan.many.served import Candidate
from cutwater.plan.objective import Objective
from cutwater.plan.problem import Problem
from cutwater.plan.solvers.base import Effort, Solution
from cutwater.plan.solvers.exact import exact
from cutwater.profile.files import load_profile
from cutwater.profile.profile import Profile
from cutwater.units import Seconds

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Of pipelines that are considered."""
MEASURED_MOST = 8
"""Stages of a pipeline of a model that was measured: beyond, the exact solver takes long."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A model of a study, and how it can be run."""

    name: str
    candidates: tuple[Candidate, ...]
    """On nodes that have a whole core; the fewest stages first, and the first of them is the whole model."""
    cuts: tuple[tuple[str, ...], ...]
    """Per candidate where it is cut, for a deployment; empty for models of figures."""
    added: Added | None = None
    """The model itself; None: there are only figures."""

    @property
    def seconds(self) -> Seconds:
        """What the whole model works for one request."""
        return self.candidates[0].seconds[0]

    @property
    def alone(self) -> Seconds:
        """What a request to the whole model takes alone."""
        return self.candidates[0].latency

    def of(self, stages: int) -> int:
        """The candidate with so many stages whose slowest is the fastest. Raises NoPlan."""
        which = [k for k, candidate in enumerate(self.candidates) if candidate.stages == stages]
        if not which:
            raise NoPlan(f"there is no way to run {self.name!r} as {stages} stages; give its groups fewer nodes")
        return min(which, key=lambda k: max(self.candidates[k].seconds))


def known_models(
    study: Study, nodes: int, cache: Path, progress: Progress = lambda what, share: None
) -> dict[str, Known]:
    """All models of a study, for groups of up to ``nodes`` nodes; what was measured before is not measured again.

    Raises:
        CutwaterError: A source is no model.
    """
    found: dict[str, Known] = {}
    measured: dict[str, Known] = {}
    for number, (name, model) in enumerate(study.models.items()):
        progress(name, number / len(study.models))
        if not model.source:
            found[name] = _of_figures(name, model, nodes)
            continue
        if model.source not in measured:
            measured[model.source] = _measured(model.source, name, nodes, cache)
        known = measured[model.source]
        assert known.added is not None
        record = msgspec.structs.replace(known.added.record, name=name)
        found[name] = replace(known, name=name, added=replace(known.added, record=record))
    return found


def _lengths(nodes: int) -> list[int]:
    return [length for length in LENGTHS if length <= nodes]


def _of_figures(name: str, model: StudyModel, nodes: int) -> Known:
    """Pipelines of equal stages."""
    assert model.seconds is not None
    candidates = []
    for stages in _lengths(nodes):
        each = model.seconds / stages + (model.overhead * model.seconds if stages > 1 else 0.0)
        edges = [model.weights * k / stages for k in range(stages + 1)]
        candidates.append(
            Candidate(
                seconds=(each,) * stages,
                hops=(model.hop,) * stages + (model.hop * stages,),
                spans=tuple(pairwise(edges)),
                memory=(0.0,) * stages,
            )
        )
    return Known(name=name, candidates=tuple(candidates), cuts=((),) * len(candidates))


def _measured(source: str, name: str, nodes: int, cache: Path) -> Known:
    added = prepare(Addition(source=source, name=name), cache)
    record = added.record
    sizes = {f"{each}:{axis}": record.sizes[each][axis] for each, axes in record.dynamic.items() for axis in axes}
    graph = open_graph(added.file, sizes)
    lattice, profile = build_lattice(graph), load_profile(added.profile)
    most = min(nodes, MEASURED_MOST)
    problem = _problem(lattice, profile, most)
    candidates: list[Candidate] = []
    cuts: list[tuple[str, ...]] = []
    for stages in _lengths(most):
        solver = _Remembering()
        # Nodes have a core each; what they take from each other while all are busy is measured as contention.
        made = candidates_of(problem, (stages,), speed=profile.contention if most > 1 else 1.0, solver=solver)
        for candidate, where in zip(made, solver.cuts, strict=False):
            candidates.append(replace(candidate, memory=(0.0,) * stages))
            cuts.append(tuple(str(cut) for cut in where))
    return Known(name=name, candidates=tuple(candidates), cuts=tuple(cuts), added=added)


class _Remembering:
    """The exact solver, and where it has cut; each place once, in the order in which it was found."""

    def __init__(self) -> None:
        self.cuts: list[tuple[int, ...]] = []

    def __call__(self, problem: Problem, objective: Objective, effort: Effort) -> Solution:
        """See `Solver`."""
        solution = exact(problem, objective, effort)
        if solution.choice is not None and (where := solution.choice.cuts[1:-1]) not in self.cuts:
            self.cuts.append(where)
        return solution


def _problem(lattice: Lattice, profile: Profile, nodes: int) -> Problem:
    """Nodes that are machines of their own, with what hops between workers of this one cost."""
    fleet = fleet_here(profile, nodes)
    apart = tuple(replace(node, host=None, cores=1) for node in fleet.nodes)
    return build_problem(lattice, profile, replace(fleet, nodes=apart, hosts={}, default=fleet.local), codecs=("raw",))
