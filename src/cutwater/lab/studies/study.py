"""Study: which placements of which models are to be compared, on which nodes, under which load. Nothing here acts.

A file says it all (`experiments/` has some); `cutwater.lab.studies.reading` reads it.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated

import msgspec
from msgspec.structs import replace

from cutwater.errors import BadQuantity, did_you_mean
from cutwater.plan.many.choose import METHODS
from cutwater.units import Seconds, parse_bytes
from cutwater.workload.limits import Checked, Duration, Limits, Moment, Rate, Share, Variation
from cutwater.workload.workload import Workload

FINDABLE = ("rate", "cv", "nodes")
"""What a sweep can look for: the highest rate, the highest variation, the fewest nodes."""


def _times(value: str | int | float) -> float:
    """``"5x"`` or 5 -> 5.0."""
    try:
        return float(value.removesuffix("x") if isinstance(value, str) else value)
    except ValueError:
        raise BadQuantity(f"{value!r} is no multiple; write it like 5x") from None


Times = Annotated[float, Limits(_times)]
"""A multiple of what a request takes alone."""
Size = Annotated[float, Limits(parse_bytes)]
Part = Annotated[float, Limits(_times, most=1.0, open=False)]


class StudyModel(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """A model: a real one, measured on this machine, or figures."""

    source: str = ""
    """An ONNX file, or a model of the zoo."""
    seconds: Duration | None = None
    """Instead of a source: what it computes for one request on one node."""
    weights: Size = 1.0
    """Bytes of its weights."""
    overhead: Part = 0.0
    """What each stage of a pipeline computes beyond its share, in parts of ``seconds``."""
    hop: Moment = 0.0
    """What a request waits on each way from one place to the next."""

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if bool(self.source) == (self.seconds is not None):
            raise BadQuantity("source: needs either 'source', a file or a model of the zoo, or 'seconds'")


class StudyNodes(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """The nodes, all alike."""

    count: int
    weights: Size | None = None
    """Bytes of weights that each may hold, as an accelerator's memory would; absent: any."""
    share: Share = 1.0
    """Of a core that each has when it is run live; a whole core is its own."""

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if not 1 <= self.count <= 1000:
            raise BadQuantity(f"count: {self.count} must be between 1 and 1000")


class Together(Checked, frozen=True, kw_only=True):
    """Nodes that run each of some models as a pipeline, stage k on the k-th."""

    nodes: tuple[int, ...]
    """Counted from 1."""
    models: tuple[str, ...]


class Way(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """A way to place the models: by a method of the planner, as a person says, or as nobody could."""

    method: str = ""
    groups: tuple[Together, ...] = ()
    pooled: bool = False
    """All nodes as one machine, as fast as they are together, as in the resource pooling of queueing theory: for models
    that take equally long a bound that no placement can pass."""
    spares: int = 0
    """Warm workers of each stage on other nodes of the fleet, taken where no other way is left."""

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if bool(self.method) + bool(self.groups) + self.pooled != 1:
            raise BadQuantity("method: needs one of 'method', 'groups' and 'pooled'")
        if self.method and self.method not in METHODS:
            raise BadQuantity(f"method: there is none called {self.method!r}{did_you_mean(self.method, METHODS)}")
        if not 0 <= self.spares <= 9:
            raise BadQuantity(f"spares: {self.spares} must be between 0 and 9")
        if self.pooled and self.spares:
            raise BadQuantity("spares: one machine has no others for them; leave them out")


class Sweep(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """Values that are all tried with each other; where there are none, it is as the study says."""

    workload: tuple[str, ...] = ()
    """Names of workloads; none: all of the study's."""
    load: tuple[Times, ...] = ()
    """Work that comes per second over that which all nodes can do: the workload's rates are scaled to that."""
    rate: tuple[Rate, ...] = ()
    """Instead: requests per second for all models together."""
    cv: tuple[Variation, ...] = ()
    """The workload's coefficients of variation are multiplied by it."""
    slo: tuple[Times, ...] = ()
    nodes: tuple[int, ...] = ()
    find: str = ""
    """One of `FINDABLE`: how far that can go with ``aim`` of the requests in time; nothing: just what comes of them."""
    aim: Share = 0.99

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if self.load and self.rate:
            raise BadQuantity("rate: the load is given already; give one of them")
        if self.find and self.find not in FINDABLE:
            raise BadQuantity(f"find: {self.find!r} cannot be looked for{did_you_mean(self.find, FINDABLE)}")
        given = {"rate": self.rate or self.load, "cv": self.cv, "nodes": self.nodes}
        if self.find and given[self.find]:
            raise BadQuantity(f"find: of what is looked for no values can be given; leave out {self.find!r}")
        for position, count in enumerate(self.nodes):
            if not 1 <= count <= 1000:
                raise BadQuantity(f"nodes[{position}]: {count} must be between 1 and 1000")


class Failure(Checked, frozen=True, kw_only=True):
    """All workers of a node are killed; the node starts them again."""

    node: int
    """Counted from 1."""
    at: Moment
    """Since the load began."""
    back: Duration = 1.0
    """How long it takes until they serve again, simulated; live it takes as long as it takes."""


class Terms(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """What is otherwise on an occasion: live, or where it has to be quick."""

    source: str = ""
    """Instead of every model's own."""
    duration: Duration | None = None
    """Instead of the workloads'."""
    placements: tuple[str, ...] = ()
    """Only these."""
    sweeps: dict[str, Sweep] = msgspec.field(default_factory=dict)
    """Instead of the study's."""
    failure: Failure | None = None
    """Instead of the study's."""


class Study(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """A question, and all that is needed to answer it."""

    name: str
    question: str
    models: dict[str, StudyModel]
    nodes: StudyNodes
    placements: dict[str, Way]
    baseline: str
    """The placement the others are held against."""
    workloads: dict[str, Workload]
    sweeps: dict[str, Sweep]
    slo: Times | None = None
    """So many times what a request takes alone on one node it may take; absent: as long as it wants."""
    seed: int = 0
    steps: int = 100
    """Of the planner's search."""
    failure: Failure | None = None
    live: Terms = Terms()
    quick: Terms = Terms()

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        for field in ("models", "placements", "workloads", "sweeps"):
            if not getattr(self, field):
                raise BadQuantity(f"{field}: needs at least one")
        if self.baseline not in self.placements:
            raise BadQuantity(f"baseline: there is no placement {self.baseline!r}{self._near(self.baseline)}")
        for name, number in (("seed", self.seed), ("steps", self.steps)):
            if number < 0:
                raise BadQuantity(f"{name}: {number} must be at least 0")
        self._check_workloads()
        self._check_groups()
        self._check_sweeps("sweeps", self.sweeps, self.failure)
        self._check_failure("failure", self.failure, Terms())
        for name, terms in (("live", self.live), ("quick", self.quick)):
            self._check_sweeps(f"{name}.sweeps", terms.sweeps, terms.failure or self.failure)
            self._check_failure(f"{name}.failure" if terms.failure else name, terms.failure or self.failure, terms)
            for position, placement in enumerate(terms.placements):
                if placement not in self.placements:
                    near = self._near(placement)
                    raise BadQuantity(f"{name}.placements[{position}]: there is no placement {placement!r}{near}")

    def _near(self, placement: str) -> str:
        return did_you_mean(placement, self.placements)

    def _check_workloads(self) -> None:
        for name, workload in self.workloads.items():
            for model in workload.models:
                if model not in self.models:
                    near = did_you_mean(model, self.models)
                    raise BadQuantity(f"workloads.{name}.models.{model}: there is no model {model!r}{near}")

    def _check_groups(self) -> None:
        for name, way in self.placements.items():
            used: set[int] = set()
            for position, group in enumerate(way.groups):
                path = f"placements.{name}.groups[{position}]"
                for model in group.models:
                    if model not in self.models:
                        raise BadQuantity(
                            f"{path}.models: there is no model {model!r}{did_you_mean(model, self.models)}"
                        )
                for node in group.nodes:
                    if not 1 <= node <= self.nodes.count or node in used:
                        raise BadQuantity(
                            f"{path}.nodes: {node} is no node from 1 to {self.nodes.count} that is still free"
                        )
                    used.add(node)
                if not group.nodes or not group.models:
                    raise BadQuantity(f"{path}.nodes: a group needs a node and a model")

    def _check_sweeps(self, path: str, sweeps: Mapping[str, Sweep], failure: Failure | None) -> None:
        for name, sweep in sweeps.items():
            for position, workload in enumerate(sweep.workload):
                if workload not in self.workloads:
                    near = did_you_mean(workload, self.workloads)
                    raise BadQuantity(f"{path}.{name}.workload[{position}]: there is none called {workload!r}{near}")
            if sweep.find and self.slo is None and not sweep.slo:
                raise BadQuantity(f"{path}.{name}.find: needs an SLO that requests can be in time for; give 'slo'")
            others = [placement for placement, way in self.placements.items() if way.groups]
            if failure is not None and any(count < failure.node for count in sweep.nodes):
                raise BadQuantity(
                    f"{path}.{name}.nodes: with fewer than {failure.node} there is no node for the failure"
                )
            if (sweep.nodes or sweep.find == "nodes") and others:
                raise BadQuantity(
                    f"{path}.{name}.nodes: the groups of {others[0]!r} are for {self.nodes.count} nodes only"
                )

    def _check_failure(self, path: str, failure: Failure | None, terms: Terms) -> None:
        pooled = [placement for placement in self.kept(terms) if self.placements[placement].pooled]
        if failure is not None and pooled:
            raise BadQuantity(f"{path}: of {pooled[0]!r}, one machine, no node can fail; leave one of them out")
        if failure is not None and not 1 <= failure.node <= self.nodes.count:
            raise BadQuantity(f"{path}.node: there is no node {failure.node}; there are 1 to {self.nodes.count}")
        shortest = terms.duration or min(workload.duration for workload in self.workloads.values())
        if failure is not None and failure.at >= shortest:
            raise BadQuantity(f"{path}.at: at {failure.at:g} s the load of {shortest:g} s is over; let it fail before")

    # What is to be tried

    def under(self, terms: Terms) -> "Study":
        """The study on an occasion, which has no others then. Raises BadQuantity."""
        models, workloads = self.models, self.workloads
        if terms.source:
            models = {name: StudyModel(source=terms.source) for name in models}
        if terms.duration is not None:
            workloads = {name: replace(each, duration=terms.duration) for name, each in workloads.items()}
        kept = self.kept(terms)
        return replace(
            self,
            models=models,
            workloads=workloads,
            placements={name: way for name, way in self.placements.items() if name in kept},
            sweeps=terms.sweeps or self.sweeps,
            failure=terms.failure or self.failure,
            live=Terms(),
            quick=Terms(),
        )

    def kept(self, terms: Terms) -> tuple[str, ...]:
        """The placements that are tried on an occasion, the baseline among them."""
        named = tuple(each for each in terms.placements if each in self.placements) or tuple(self.placements)
        return named if self.baseline in named else (self.baseline, *named)

    def points(self) -> Iterator["Point"]:
        """All there is to try, sweep by sweep."""
        for name, sweep in self.sweeps.items():
            axes = (
                sweep.workload or tuple(self.workloads),
                sweep.load or (None,),
                sweep.rate or (None,),
                sweep.cv or (1.0,),
                sweep.slo or (self.slo,),
                sweep.nodes or (self.nodes.count,),
                (False, True) if self.failure is not None else (False,),
            )
            for workload, load, rate, cv, slo, nodes, failing in product(*axes):
                yield Point(
                    sweep=name, workload=workload, load=load, rate=rate, cv=cv, slo=slo, nodes=nodes, failing=failing,
                    find=sweep.find, aim=sweep.aim if sweep.find else 0.0,
                )  # fmt: skip


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Under which conditions placements are compared; see `Sweep`."""

    sweep: str
    workload: str
    load: float | None
    rate: float | None
    cv: float
    slo: float | None
    """Times what a request takes alone; None: it may take as long as it wants."""
    nodes: int
    failing: bool = False
    """Whether the study's failure happens."""
    find: str = ""
    """What is looked for there, with a share of ``aim`` in time; nothing: 0."""
    aim: float = 0.0


PATIENT: Seconds = 1e6
"""Stands for no SLO: nobody waits for so long."""
