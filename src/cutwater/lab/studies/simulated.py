"""Simulated: a study in predicted time, by the fast queues, and with the real engine where they are to be checked."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from cutwater.drivers.faults import Kill, What
from cutwater.drivers.sim.placement import simulate
from cutwater.errors import BadQuantity, NoPlan
from cutwater.lab.studies.cases import Case, case_of, on, place, rates_at, shape_of, spare_groups
from cutwater.lab.studies.costs import Known
from cutwater.lab.studies.results import ENGINE, QUEUES, Row
from cutwater.lab.studies.study import Failure, Point, Study, Way
from cutwater.plan.many.forecast import latencies
from cutwater.plan.many.served import Placement
from cutwater.plan.problem import Floats

ENGINE_MOST = 20_000
"""Requests that the engine is given: of more the first."""
LEAST_LOAD, MOST_LOAD = 0.01, 2.0
"""Between which a rate is looked for, in parts of what all nodes can do."""
LEAST_CV, MOST_CV = 0.1, 20.0
MOST_NODES = 64
WIDTH = 0.02
"""How close a search comes."""


def simulated_rows(
    study: Study, known: Mapping[str, Known], point: Point, placement: str, go_on: Callable[[], None]
) -> Iterator[Row]:
    """What becomes of one placement at one point.

    Args:
        study: The study.
        known: Its models.
        point: The conditions.
        placement: Its name.
        go_on: Called now and then.

    Raises:
        CutwaterError: Models cannot be placed so.
    """
    way = study.placements[placement]
    sweep = study.sweeps[point.sweep]
    found: float | None = None
    if sweep.find:
        found = _found(study, known, point, way, sweep.find, sweep.aim, go_on)
    case = _case_at(study, known, point, way, sweep.find if found else "", found or 0.0)
    placed = place(study, known, case, way)
    if not point.failing:  # the queues know of no failures
        yield row_of(point, placement, QUEUES, case, placed, latencies_of(case, placed), found)
    go_on()
    taken = by_engine(case, placed, spares=way.spares, failure=study.failure if point.failing else None)
    yield row_of(point, placement, ENGINE, case, placed, taken, found)


def latencies_of(case: Case, placed: Placement) -> Floats:
    """[R] by the fast queues."""
    return latencies(placed, case.served, case.fleet.nodes, case.stream)


def by_engine(case: Case, placed: Placement, *, spares: int = 0, failure: Failure | None = None) -> Floats:
    """[R] by the real engine in virtual time."""
    stream = case.stream
    stream = stream.only(np.arange(min(len(stream.times), ENGINE_MOST)))
    ways = spare_groups(placed, spares, case.nodes) if spares else ()
    kills = [] if failure is None else [killing(failure)]
    return simulate(placed, case.served, case.fleet.nodes, stream, spares=ways, kills=kills)


def killing(failure: Failure) -> Kill:
    """The failure as a fault."""
    return Kill(at=failure.at, what=What.NODE, name=f"node-{failure.node}", back=failure.back)


def row_of(
    point: Point,
    placement: str,
    how: str,
    case: Case,
    placed: Placement,
    taken: Floats,
    found: float | None = None,
) -> Row:
    """Latencies, infinite for what was not answered in time, as figures."""
    answered = taken[np.isfinite(taken)]
    quantiles = np.quantile(answered, (0.5, 0.99)).tolist() if len(answered) else [None, None]
    return Row(
        point=point,
        placement=placement,
        how=how,
        shape=shape_of(placed, case.served),
        requests=len(taken),
        attainment=len(answered) / len(taken) if len(taken) else 1.0,
        mean=float(answered.mean()) if len(answered) else None,
        p50=quantiles[0],
        p99=quantiles[1],
        found=found,
        facts={"offered": case.rate},
    )


def _case_at(
    study: Study, known: Mapping[str, Known], point: Point, way: Way, what: str = "", value: float = 0.0
) -> Case:
    """What a placement is tried on, with a value of what is looked for, if anything is."""
    match what:
        case "":
            found = case_of(study, known, point)
        case "rate":
            found = case_of(study, known, point, rate=value)
        case "cv":
            found = case_of(study, known, point, cv=value)
        case _:
            found = case_of(study, known, point, nodes=int(value))
    return on(way, found)


def _found(
    study: Study,
    known: Mapping[str, Known],
    point: Point,
    way: Way,
    what: str,
    aim: float,
    go_on: Callable[[], None],
) -> float:
    """How far it can go; 0: not at all."""

    def reaches(value: float) -> bool:
        go_on()
        try:
            case = _case_at(study, known, point, way, what, value)
            taken = latencies_of(case, place(study, known, case, way))
        except (NoPlan, BadQuantity):  # nothing can be placed, or be described, so far out
            return False
        return bool(len(taken)) and float(np.isfinite(taken).mean()) >= aim

    if what == "nodes":
        return float(next((count for count in range(1, MOST_NODES + 1) if reaches(count)), 0))
    if what == "cv":
        return _highest(reaches, LEAST_CV, MOST_CV)
    capacity = _capacity(study, known, point)
    return _highest(reaches, LEAST_LOAD * capacity, MOST_LOAD * capacity)


def _capacity(study: Study, known: Mapping[str, Known], point: Point) -> float:
    """Requests per second that all nodes could compute if none had to wait."""
    rates = rates_at(study, point)
    work = sum(rate * known[model].seconds for model, rate in rates.items()) / sum(rates.values())
    return point.nodes * study.nodes.share / work


def _highest(reaches: Callable[[float], bool], low: float, high: float) -> float:
    """Where it stops to reach the aim; 0 where the lowest does not, ``high`` where that does."""
    if not reaches(low):
        return 0.0
    if reaches(high):
        return high
    while high / low > 1 + WIDTH:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return low
