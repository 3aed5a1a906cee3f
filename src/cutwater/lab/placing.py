"""From models that are asked for, and a fleet, to what many-model planning wants: candidates, SLOs, a closer look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.drivers.sim.placement import simulate
from cutwater.errors import BadFile, BadSetting, InputError, NoPlan, did_you_mean
from cutwater.frameworks.open import open_graph
from cutwater.lab.inputs import good_feeds, open_inputs
from cutwater.lab.measure import Progress
from cutwater.lab.planning import fleet_here
from cutwater.lab.profiles import profile_for
from cutwater.lab.timing import MeasureOptions, usable_cores
from cutwater.plan.build import build_problem
from cutwater.plan.fleet import Fleet, Link, Node
from cutwater.plan.many.candidates import candidates_of
from cutwater.plan.many.choose import Trial, sampled
from cutwater.plan.many.served import Candidate, Placement, Served
from cutwater.plan.many.stream import merged
from cutwater.plan.problem import Floats, Problem
from cutwater.profile.files import load_profile
from cutwater.profile.profile import Profile
from cutwater.units import NodeId, Seconds
from cutwater.zoo.registry import MODELS, build

USUAL_BYTES = 100_000
"""Of a frame, when it is asked which of several links is the middle one."""
_SOURCE = NodeId(":source")


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How soon answers are wanted."""

    seconds: Seconds = 0.0
    times: float = 0.0
    """So many times what a request takes that is alone, on the fastest node; 0: ``seconds`` counts."""


def located(
    models: Sequence[str], given: Mapping[str, str], folder: Path, places: Mapping[str, str], cache: Path
) -> dict[str, Path]:
    """Model -> its file: as given for it, else ``NAME.onnx`` in the workload's folder, else the zoo's.

    Args:
        models: As the workload calls them.
        given: Model -> a file, or a name of the zoo.
        folder: Where the workload's file lies.
        places: Where that file names each model: "w.yaml:3: models.bert".
        cache: Where models of the zoo are kept.

    Raises:
        BadSetting: What is given for a model is neither a file nor in the zoo.
        BadFile: Nothing is called so; names the workload's line.
    """
    return {model: _located(model, given.get(model, ""), folder, places.get(model, model), cache) for model in models}


def _located(model: str, given: str, folder: Path, place: str, cache: Path) -> Path:
    beside = folder / f"{model}.onnx"
    path = Path(given) if given else beside
    if path.is_file():
        return path
    if (given or model) in MODELS:
        return build(given or model, cache)
    if given:
        raise BadSetting(f"--model {model}={given}: no such file, and no model of the zoo{did_you_mean(given, MODELS)}")
    hint = did_you_mean(model, MODELS)
    raise BadFile(f"{place}: there is no {beside}, and no model of the zoo{hint}; say --model {model}=FILE")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model's file that has been looked at."""

    lattice: Lattice
    profile: Profile
    together: Profile | None = None
    """Measured with batches; None: it was not, or the model takes one request at a time."""

    def problem(self, fleet: Fleet) -> Problem:
        """Of running it on a fleet."""
        return build_problem(self.lattice, self.profile, fleet)

    def fixed(self, fleet: Fleet) -> Floats | None:
        """[C] what a batch pays once, on the nodes of a fleet that are all alike; None: nobody knows.

        What n requests take together, per request, is ``fixed / n`` and what each needs for itself.
        """
        if self.together is None:
            return None
        alone = self.problem(fleet)
        joint = build_problem(self.lattice, self.together, fleet)
        node, count = int(np.flatnonzero(alone.runs)[0]), self.together.conditions.batch
        fixed: Floats = (alone.prefix[node] - joint.prefix[node]) * count / (count - 1)
        return fixed


def measured(
    path: Path,
    cache: Path,
    profile: Path | None = None,
    progress: Progress = lambda what, share: None,
    batch: int = 1,
) -> Measured:
    """Open a model and read its profile; without one measure it here, unless it was measured here before.

    ``batch``: measure it with so many requests at once as well, if it takes several.

    Raises:
        BadFile: The profile cannot be read, or is another model's.
        BadModel: It cannot be read.
        BadShape: A dimension is open whose size the zoo does not know.
    """
    sizes = MODELS[path.stem].sizes if path.stem in MODELS else {}
    graph = open_graph(path, sizes)
    requests = good_feeds(open_inputs(["synthetic:3"], [graph.tensors[each] for each in graph.inputs]), 3)

    def here(options: MeasureOptions) -> Profile:
        return profile_for(graph, requests, cache / "profiles", options=options, progress=progress)

    return Measured(
        lattice=build_lattice(graph),
        profile=here(MeasureOptions()) if profile is None else load_profile(profile),
        together=here(MeasureOptions(batch=batch)) if batch > 1 and graph.batchable else None,
    )


def fleet_of(model: Measured) -> Fleet:
    """This machine, with a node for every core, and hops as they were measured with a model."""
    return fleet_here(model.profile, len(usable_cores()))


def served_models(
    models: Mapping[str, Measured],
    fleet: Fleet,
    goals: Mapping[str, Goal],
    most: int,
    progress: Progress = lambda what, share: None,
) -> list[Served]:
    """The models with their SLOs, and the exact solver's pipelines of 1 to ``most`` stages; of each `Measured` once.

    Pipelines are solved for nodes that are all alike: as fast as the fleet's middle one, with the memory of its largest
    and with its middle links. Nodes of one host slow each other down as was measured with all cores busy.

    Raises:
        NoPlan: A model fits no node, cut or not.
        InputError: A fleet that this cannot be said of.
    """
    check_fleet(fleet)
    runs = [node for node in fleet.nodes if node.stages]
    middle = sorted(node.speed for node in runs)[len(runs) // 2]
    fastest = max(node.speed for node in runs)
    shared = any(node.host is not None and sum(n.host == node.host for n in runs) > 1 for node in runs)
    most = min(most, len(runs))
    known: dict[int, tuple[Candidate, ...]] = {}
    served = []
    for k, (name, model) in enumerate(models.items()):
        progress(name, k / len(models))
        if id(model) not in known:
            slowed = max(model.profile.contention, 1.0) if shared else 1.0
            like = alike(fleet, most, middle / slowed)
            known[id(model)] = candidates_of(
                model.problem(like),
                range(1, most + 1),
                speed=middle,
                batches=batches_up_to(model.together.conditions.batch) if model.together is not None else (),
                fixed=model.fixed(like),
                tight=any(node.memory is not None for node in runs),
            )
        found = known[id(model)]
        if not found:
            raise NoPlan(f"{name}: no node has the memory for it, whole or cut into up to {most} stages")
        served.append(Served(name=name, slo=_slo(goals[name], found[0], fastest), candidates=found))
    return served


def batches_up_to(most: int) -> list[int]:
    """The limits that are tried: 2, 4, 8, ... and the most."""
    return sorted({*(2**k for k in range(1, most.bit_length()) if 2**k <= most), most} - {1})


def _slo(goal: Goal, simplest: Candidate, speed: float) -> Seconds:
    alone = sum(simplest.seconds) / speed + sum(simplest.hops)
    return goal.times * alone if goal.times else goal.seconds


def check_fleet(fleet: Fleet) -> None:
    """Whether many models can be placed on it.

    Raises:
        InputError: No node runs stages, two have no link, a node has a profile of its own, or answers go elsewhere.
    """
    runs = [node for node in fleet.nodes if node.stages]
    if not runs:
        raise InputError("no node of the fleet may run a stage; leave 'stages: false' out somewhere")
    if fleet.sink not in (None, fleet.source):
        raise InputError(f"many models answer to where they are asked, not to the sink {fleet.sink!r}; leave it out")
    for node in runs:
        if node.profile is not None:
            raise InputError(
                f"node {node.name!r} has a profile of its own, which is one model's; give its speed instead"
            )
    for a, b in _pairs(fleet, runs):
        if fleet.link(a, b) is None:
            raise InputError(
                f"there is no link from {a!r} to {b!r}; any two nodes may work together: say a default_link"
            )


def _pairs(fleet: Fleet, runs: Sequence[Node]) -> list[tuple[NodeId, NodeId]]:
    names = dict.fromkeys([fleet.source, *(node.name for node in runs)])
    return [(a, b) for a in names for b in names if a != b]


def alike(fleet: Fleet, count: int, speed: float) -> Fleet:
    """``count`` nodes that are what a fleet's are on average, with nobody else on their machines, and a source."""
    runs = [node for node in fleet.nodes if node.stages]
    memory = None if any(node.memory is None for node in runs) else max(node.memory or 0 for node in runs)
    nodes = [Node(name=NodeId(f"node-{k}"), threads=runs[0].threads, speed=speed, memory=memory) for k in range(count)]
    pairs = _pairs(fleet, runs)
    inside = [pair for pair in pairs if fleet.source not in pair]
    there = [pair for pair in pairs if pair[0] == fleet.source]
    back = [pair for pair in pairs if pair[1] == fleet.source]
    between = _middle(fleet, inside or there)
    first, last = _middle(fleet, there or inside), _middle(fleet, back or inside)
    links = [replace(first, source=_SOURCE, target=node.name) for node in nodes]
    links += [replace(last, source=node.name, target=_SOURCE) for node in nodes]
    source = next(node for node in fleet.nodes if node.name == fleet.source)
    return Fleet(
        nodes=(Node(name=_SOURCE, speed=source.speed, stages=False), *nodes),
        source=_SOURCE,
        links=tuple(links),
        default=between,
    )


_FREE = Link(bandwidth=1e12)
"""Where the only node is the source."""


def _middle(fleet: Fleet, pairs: Sequence[tuple[NodeId, NodeId]]) -> Link:
    """Of the links between these pairs the one in the middle, for a usual frame."""
    links = [link for a, b in pairs if (link := fleet.link(a, b)) is not None]
    links.sort(key=lambda link: link.latency + USUAL_BYTES / link.bandwidth)
    return replace(links[len(links) // 2], medium=None) if links else _FREE


def engine_trial(
    served: Sequence[Served], fleet: Fleet, arrivals: Sequence[Floats], requests: int
) -> tuple[Trial, int]:
    """The share in time by the engine in virtual time, on a part of the arrivals; and how many requests that are."""
    stream = sampled(merged(arrivals), requests)

    def trial(placement: Placement) -> float:
        return float(np.isfinite(simulate(placement, served, fleet.nodes, stream)).mean())

    return trial, len(stream.times)
