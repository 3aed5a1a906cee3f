"""Case: one point of a study made concrete: what comes when, for which models, on which nodes, and who runs what."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from msgspec.structs import replace

from cutwater.errors import BadQuantity, NoPlan
from cutwater.lab.placing import engine_trial
from cutwater.lab.studies.costs import Known
from cutwater.lab.studies.study import PATIENT, Point, Study, Way
from cutwater.plan.fleet import Fleet, Node
from cutwater.plan.many.choose import ANYTIME, plan_many
from cutwater.plan.many.served import Group, Placement, Replica, Served, fits
from cutwater.plan.many.stream import Stream, merged
from cutwater.plan.solvers.base import Effort
from cutwater.units import NodeId
from cutwater.workload.curve import mean_rate
from cutwater.workload.scale import scaled_workload
from cutwater.workload.schedule import Schedule
from cutwater.workload.workload import Workload, make

TRIED = 4000
"""Requests with which the real engine decides between the last few placements of a method."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What all placements of one point are compared on."""

    served: tuple[Served, ...]
    fleet: Fleet
    workload: Workload
    schedule: Schedule
    """Its requests."""
    rate: float
    """Requests per second that are to be expected, for all models together."""
    cv: float
    nodes: int

    @property
    def stream(self) -> Stream:
        """The requests, models by their places in ``served``."""
        return merged([self.schedule.times.get(model.name, np.zeros(0)) for model in self.served])


def case_of(
    study: Study,
    known: Mapping[str, Known],
    point: Point,
    *,
    rate: float | None = None,
    cv: float | None = None,
    nodes: int | None = None,
) -> Case:
    """A point made concrete; what is given goes before what the point says.

    Raises:
        BadQuantity, BadSetting: The workload cannot be scaled so.
    """
    count = point.nodes if nodes is None else nodes
    share = study.nodes.share
    served = tuple(
        Served(
            name=name,
            slo=PATIENT if point.slo is None else point.slo * each.alone(share),
            candidates=tuple(candidate for candidate in each.candidates if candidate.stages <= count),
        )
        for name, each in known.items()
    )
    base = study.workloads[point.workload]
    rates = rates_at(study, point)
    total = sum(rates.values())
    work = sum(each * known[model].seconds for model, each in rates.items()) / share
    if rate is None:
        rate = point.rate if point.rate is not None else total
        if point.load is not None:
            rate = total * point.load * count / work
    variation = point.cv if cv is None else cv
    workload = scaled_workload(replace(base, seed=base.seed + study.seed), rate=rate / total, cv=variation)
    return Case(
        served=served,
        fleet=fleet_of(study, count),
        workload=workload,
        schedule=make(workload),
        rate=rate,
        cv=variation,
        nodes=count,
    )


def on(way: Way, case: Case) -> Case:
    """The case as a placement meets it; for a pooled one the nodes are one machine, which gets the same requests.

    At no time has any placement of models that take equally long done more of them than that machine: it works whenever
    there is work, with all there is, and loses nothing to memory, hops or cuts.
    """
    if not way.pooled:
        return case
    count = len(case.fleet.nodes)
    served = []
    for model in case.served:
        whole = model.candidates[0]
        unheld = dataclasses.replace(whole, hops=(0.0,) * len(whole.hops), memory=(0.0,) * whole.stages)
        served.append(dataclasses.replace(model, candidates=(unheld,)))
    first = case.fleet.nodes[0]
    machine = dataclasses.replace(first, memory=None, speed=first.speed * count)
    fleet = Fleet(nodes=(machine,), source=machine.name)
    return dataclasses.replace(case, served=tuple(served), fleet=fleet)


def fleet_of(study: Study, count: int) -> Fleet:
    """So many of the study's nodes: node-1, node-2, ..."""
    memory = None if study.nodes.weights is None else int(study.nodes.weights)
    names = [NodeId(f"node-{k + 1}") for k in range(count)]
    nodes = tuple(Node(name=name, memory=memory, speed=study.nodes.share) for name in names)
    return Fleet(nodes=nodes, source=names[0])


def rates_at(study: Study, point: Point) -> dict[str, float]:
    """Model -> requests per second of the workload, as it is in the study. Raises BadQuantity if nothing comes."""
    workload = study.workloads[point.workload]
    rates = rates_of(workload)
    if not any(rates.values()):
        raise BadQuantity(f"workloads.{point.workload}: nothing comes in its {workload.duration:g} s; give it more")
    return rates


def rates_of(workload: Workload) -> dict[str, float]:
    """Model -> requests per second that are to be expected."""
    found = {
        model: mean_rate(demand.arrivals, workload.duration) if demand.arrivals is not None else 0.0
        for model, demand in workload.models.items()
    }
    for mix in workload.mixes.values():
        rate, weights = mean_rate(mix.arrivals, workload.duration), sum(mix.shares.values())
        for model, weight in mix.shares.items():
            found[model] += rate * weight / weights
    return found


def place(study: Study, known: Mapping[str, Known], case: Case, way: Way) -> Placement:
    """Who runs what; the case is as it is `on` that way.

    Raises:
        NoPlan: A model cannot be parted for a group, or that does not fit its nodes.
    """
    if way.pooled:
        return Placement((Group((0,), tuple(Replica(k, 0) for k in range(len(case.served)))),))
    if way.method:
        effort = Effort(rng=np.random.default_rng(study.seed), steps=study.steps)
        arrivals = [case.schedule.times.get(model.name, np.zeros(0)) for model in case.served]
        trial, _ = engine_trial(case.served, case.fleet, arrivals, TRIED)
        found = plan_many(
            case.served,
            case.fleet,
            arrivals,
            method=way.method,
            effort=effort,
            alike=True,
            trial=trial if way.method == ANYTIME else lambda placement: None,
        ).placement
        return Placement(tuple(group for group in found.groups if group.replicas))
    position = {model.name: k for k, model in enumerate(case.served)}
    groups = tuple(
        Group(
            tuple(node - 1 for node in group.nodes),
            tuple(Replica(position[model], known[model].of(len(group.nodes))) for model in group.models),
        )
        for group in way.groups
    )
    for group in groups:
        if not fits(case.served, case.fleet.nodes, group):
            which = " and ".join(str(node + 1) for node in group.nodes)
            names = ", ".join(case.served[replica.model].name for replica in group.replicas)
            raise NoPlan(f"nodes.weights: node {which} cannot hold {names}; give nodes more, or groups fewer models")
    return Placement(groups)


def shape_of(placement: Placement, served: tuple[Served, ...]) -> str:
    """In words: ``"1: a; 2+3: b, c"``, nodes counted from 1."""
    return "; ".join(
        f"{'+'.join(str(node + 1) for node in group.nodes)}: "
        + ", ".join(served[replica.model].name for replica in group.replicas)
        for group in placement.groups
    )


def spare_groups(placement: Placement, count: int, nodes: int) -> list[Group]:
    """The further ways through groups with ``count`` spares of every stage, on the nodes with the fewest workers."""
    busy = [sum(len(group.replicas) for group in placement.groups if node in group.nodes) for node in range(nodes)]
    found = []
    for group in placement.groups:
        places = [[node] for node in group.nodes]
        for _ in range(count):
            for stage in places:
                others = [node for node in range(nodes) if node not in stage]
                if others:
                    stage.append(min(others, key=busy.__getitem__))
                    busy[stage[-1]] += len(group.replicas)
        found += [Group(way, group.replicas) for way in product(*places) if way != group.nodes]
    return found
