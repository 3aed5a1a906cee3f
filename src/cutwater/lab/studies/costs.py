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
from cutwater.plan.problem import Problem
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
    added: Added | None = None
    """The model itself; None: there are only figures."""

    @property
    def seconds(self) -> Seconds:
        """What the whole model works for one request."""
        return self.candidates[0].seconds[0]

    def alone(self, share: float) -> Seconds:
        """What a request to the whole model takes alone, on a node that has a ``share`` of a core."""
        return self.seconds / share + sum(self.candidates[0].hops)

    def as_seen(self, seconds: Seconds, alone: Seconds, share: float) -> "Known":
        """The same with what the whole model was seen to take; the rest in proportion.

        Args:
            seconds: It works for one request, on a whole core.
            alone: A lone request takes on a node with its ``share`` of a core.
            share: See there.
        """
        factor = seconds / self.seconds
        whole = self.candidates[0]
        beside = max(alone - seconds / share - sum(whole.hops), 0.0)
        return replace(
            self,
            candidates=tuple(
                replace(
                    each,
                    seconds=tuple(stage * factor for stage in each.seconds),
                    hops=(each.hops[0] + beside / 2, *each.hops[1:-1], each.hops[-1] + beside / 2),
                )
                for each in self.candidates
            ),
        )

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
        if not model.source:
            found[name] = _of_figures(name, model, nodes)
            continue
        progress(name, number / len(study.models))
        if model.source not in measured:
            short = study.nodes.weights is not None
            measured[model.source] = _measured(model.source, name, nodes, cache, tight=short)
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
    return Known(name=name, candidates=tuple(candidates))


def _measured(source: str, name: str, nodes: int, cache: Path, *, tight: bool) -> Known:
    added = prepare(Addition(source=source, name=name), cache)
    record = added.record
    sizes = {f"{each}:{axis}": record.sizes[each][axis] for each, axes in record.dynamic.items() for axis in axes}
    graph = open_graph(added.file, sizes)
    lattice, profile = build_lattice(graph), load_profile(added.profile)
    most = min(nodes, MEASURED_MOST)
    problem = _problem(lattice, profile, most)
    # Nodes have a core each; what they take from each other while all are busy is measured as contention.
    slowed = max(profile.contention, 1.0) if most > 1 else 1.0
    found = candidates_of(problem, _lengths(most), speed=slowed, tight=tight)
    apart = tuple(replace(each, memory=(0.0,) * each.stages) for each in found)
    return Known(name=name, candidates=apart, added=added)


def _problem(lattice: Lattice, profile: Profile, nodes: int) -> Problem:
    """Nodes that are machines of their own, with what hops between workers of this one cost."""
    fleet = fleet_here(profile, nodes)
    apart = tuple(replace(node, host=None, cores=1) for node in fleet.nodes)
    return build_problem(lattice, profile, replace(fleet, nodes=apart, hosts={}, default=fleet.local), codecs=("raw",))
