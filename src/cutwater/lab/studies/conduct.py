"""Conducts a study from its first point to its last, simulated or live; what is known already is not done again."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from msgspec.structs import replace

from cutwater.errors import BadSetting
from cutwater.lab.adding import add_model
from cutwater.lab.load.record import write_csv
from cutwater.lab.studies.bench import Bench, bench
from cutwater.lab.studies.cases import case_of, fleet_of, place
from cutwater.lab.studies.costs import Known, known_models
from cutwater.lab.studies.live import Attempt, seen, wanted
from cutwater.lab.studies.results import ENGINE, HINDSIGHT, LIVE, ResultsFolder
from cutwater.lab.studies.simulated import MOST_NODES, by_engine, row_of, simulated_rows
from cutwater.lab.studies.study import Point, Study
from cutwater.services.home import Home
from cutwater.settings.settings import Settings

Tell = Callable[[str, float], None]
"""Told what is being done, and the share that is done."""


def conduct_simulated(folder: ResultsFolder, cache: Path, tell: Tell) -> None:
    """All of a study in predicted time. Raises CutwaterError; whatever was found until then is kept."""
    study = folder.results.study
    todo = list(_todo(folder, ENGINE))
    known = known_models(study, _most_nodes(study), cache, lambda what, share: tell(f"measuring {what}", 0.0))
    for number, (point, placement) in enumerate(todo):
        tick = _ticking(tell, f"{point.sweep}: {placement}", number / len(todo))
        folder.add(simulated_rows(study, known, point, placement, tick))


async def conduct_live(folder: ResultsFolder, cache: Path, home: Home, settings: Settings, tell: Tell) -> None:
    """All of a study on a cluster of its own, and each run again in virtual time with the costs that were seen.

    Raises:
        BadSetting: There is nothing that could be run live.
        CutwaterError: Something does not come up; whatever was found until then is kept.
    """
    study = folder.results.study
    for name, model in study.models.items():
        if not model.source:
            raise BadSetting(
                f"models.{name}: figures cannot be run live; give 'source', a file or a model of the zoo, or under "
                "'live' a source for all of them"
            )
    for name, way in study.placements.items():
        if way.pooled:
            raise BadSetting(f"placements.{name}: one machine as fast as all cannot be run live; leave it out there")
    for name, sweep in study.sweeps.items():
        if sweep.find:
            raise BadSetting(
                f"sweeps.{name}.find: nothing is looked for live; give values to try, or other sweeps there"
            )
    todo = list(_todo(folder, LIVE))
    done = 0
    for count, runs in groupby(sorted(todo, key=lambda what: what[0].nodes), key=lambda what: what[0].nodes):
        known = known_models(study, count, cache, lambda what, share: tell(f"measuring {what}", 0.0))
        say = _saying(tell, done / len(todo))
        async with bench(home, settings, count, study.nodes.share, say) as made:
            for each in known.values():
                assert each.added is not None
                say(f"adding {each.name}")
                await add_model(made.fabric, each.added)
            known = await _as_seen(folder, made, known, count, say)
            for point, placement in runs:
                tell(f"{point.sweep}: {point.workload}, {placement}", done / len(todo))
                await _attempt(folder, made, known, point, placement)
                done += 1


async def _as_seen(
    folder: ResultsFolder, made: Bench, known: Mapping[str, Known], count: int, say: Callable[[str], None]
) -> dict[str, Known]:
    """The models with what they take on these nodes; those with one source are measured once."""
    study = folder.results.study
    nodes = [node.name for node in fleet_of(study, count).nodes]
    for name, model in study.models.items():
        alike = [other for other in folder.results.seen if study.models[other].source == model.source]
        if name not in folder.results.seen:
            say(f"measuring what {name} takes")
            found = folder.results.seen[alike[0]] if alike else await seen(made, name, nodes, study.nodes.share)
            folder.results.seen[name] = found
    folder.write()
    seen_ = folder.results.seen
    share = study.nodes.share
    return {name: each.as_seen(seen_[name].seconds, seen_[name].alone, share) for name, each in known.items()}


async def _attempt(
    folder: ResultsFolder, made: Bench, known: Mapping[str, Known], point: Point, placement: str
) -> None:
    study = folder.results.study
    way = study.placements[placement]
    case = case_of(study, known, point)
    placed = place(study, known, case, way)
    await made.become(wanted(case, placed, way.spares))
    failure = study.failure if point.failing else None
    attempt = Attempt(made, case, placed, failure)
    measured, hindsight = await attempt.run()
    if failure is not None and attempt.back is not None:
        failure = replace(failure, back=max(attempt.back, 1e-3))
    # In a thread: whoever stands still for seconds seems gone to the cluster.
    simulated = []
    costs_of = {ENGINE: measured, HINDSIGHT: hindsight}
    if failure is not None:  # what stages took was the failure's doing, too
        del costs_of[HINDSIGHT]
    for how, costs in costs_of.items():
        taken = await asyncio.to_thread(by_engine, costs, placed, spares=way.spares, failure=failure)
        simulated.append(row_of(point, placement, how, costs, placed, taken))
    number = sum(row.how == LIVE for row in folder.results.rows) + 1
    requests = folder.folder / "requests"
    requests.mkdir(exist_ok=True)
    write_csv(attempt.log, requests / f"{number:03d}-{placement}.csv")
    folder.add([*simulated, attempt.row(point, placement)])


def _todo(folder: ResultsFolder, how: str) -> Iterator[tuple[Point, str]]:
    """What is not known yet; placements of one point one after the other, so that they meet the same machine."""
    study = folder.results.study
    for point in study.points():
        for placement in study.placements:
            if folder.results.of(point, placement, how) is None:
                yield point, placement


def _most_nodes(study: Study) -> int:
    searched = any(sweep.find == "nodes" for sweep in study.sweeps.values())
    return MOST_NODES if searched else max(point.nodes for point in study.points())


def _ticking(tell: Tell, what: str, share: float) -> Callable[[], None]:
    return lambda: tell(what, share)


def _saying(tell: Tell, share: float) -> Callable[[str], None]:
    return lambda what: tell(what, share)
