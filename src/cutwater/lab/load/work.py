"""Work: the workload that is asked for, from a file or a rate; cut to length, given SLOs, scaled for a search."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from cutwater.errors import BadQuantity, BadSetting, InputError, did_you_mean
from cutwater.lab.load.search import Draw
from cutwater.plan.reading import read_yaml
from cutwater.units import Seconds
from cutwater.workload.arrivals import Arrivals, Constant, Gamma, Poisson
from cutwater.workload.files import DESCRIPTIONS, load_workload
from cutwater.workload.limits import LONGEST
from cutwater.workload.recordings import load_schedule
from cutwater.workload.scale import described, fitted, scaled_workload
from cutwater.workload.schedule import Schedule
from cutwater.workload.toml import read_toml
from cutwater.workload.workload import Demand, Mix, Workload, make

RATE, CV = "rate", "cv"
"""What a search scales."""
MOST_CV = 100.0
"""Of gaps; see `cutwater.workload.limits.Variation`."""

Work = Workload | Schedule
"""A description, which can be drawn anew and scaled, or a recording."""


def at_rate(models: Sequence[str], rate: float, cv: float, duration: Seconds, seed: int) -> Workload:
    """Requests at one rate, each for one of ``models`` by lot.

    Args:
        models: At least one; they have equal shares.
        rate: Of all together, per second.
        cv: Of the gaps: 0 is constant, 1 is Poisson.
        duration: In seconds.
        seed: Of the gaps and the lots.

    Raises:
        BadQuantity: A number that makes no sense.
    """
    if not models:
        raise BadSetting("--rate says how much is asked, and not what: give --model NAME, once or several times")
    if not rate > 0:
        raise BadQuantity(f"--rate {rate:g}: must be above 0")
    if not 0 <= cv <= MOST_CV:
        raise BadQuantity(f"--cv {cv:g}: must be between 0 (constant) and {MOST_CV:g}; 1 is Poisson")
    arrivals: Arrivals = Constant(rate) if cv == 0 else Poisson(rate) if cv == 1 else Gamma(rate, cv)
    if len(models) == 1:
        return Workload({models[0]: Demand(arrivals)}, duration, seed)
    demands = {model: Demand() for model in models}
    return Workload(demands, duration, seed, {"all": Mix(arrivals, dict.fromkeys(models, 1.0))})


def from_file(path: Path, duration: Seconds | None, seed: int | None) -> Work:
    """What a file describes or holds, as long as is asked for: a description for ``duration``, of a recording so much.

    Raises:
        BadFile: With line and field.
        BadQuantity: The recording is shorter.
    """
    if path.suffix not in DESCRIPTIONS:
        schedule = load_schedule(path, seed=seed or 0)
        return schedule if duration is None else schedule.between(0.0, duration)
    workload = load_workload(path)
    if seed is not None:
        workload = replace(workload, seed=seed)
    return workload if duration is None else replace(workload, duration=duration)


def places_of(path: Path, work: Work) -> dict[str, str]:
    """Model -> where a file, which `from_file` has read, names it: "w.yaml:3: models.bert"."""
    if path.suffix not in DESCRIPTIONS:
        return dict.fromkeys(models_of(work), str(path))
    root = read_toml(path) if path.suffix == ".toml" else read_yaml(path)
    models = root.entries()["models"].entries()
    return {model: f"{place.file}:{place.node.start_mark.line + 1}: {place.field}" for model, place in models.items()}


def drawn(work: Work) -> Schedule:
    """The requests; models that get none are left out. Raises InputError where nobody gets any."""
    schedule = make(work) if isinstance(work, Workload) else work
    times = {model: each for model, each in schedule.times.items() if len(each)}
    if not times:
        raise InputError(f"not one request is due within {schedule.duration:g} s; ask for more, or for longer")
    return replace(schedule, times=times)


def models_of(work: Work) -> list[str]:
    """All models that may be asked."""
    return list(work.models if isinstance(work, Workload) else work.times)


def slos_of(work: Work, given: Mapping[str, Seconds]) -> dict[str, Seconds]:
    """Model -> its SLO: as given for it, else as given for all (under ""), else as the file says.

    Raises:
        BadSetting: One is given for a model that nobody asks.
    """
    models = models_of(work)
    for model in given:
        if model and model not in models:
            raise BadSetting(f"--slo {model}=...: the workload asks no model {model!r}{did_you_mean(model, models)}")
    if isinstance(work, Workload):
        said = {model: demand.slo for model, demand in work.models.items() if demand.slo is not None}
    else:
        said = dict(work.slos)
    found = {model: given.get(model, given.get("", said.get(model))) for model in models}
    return {model: slo for model, slo in found.items() if slo is not None}


def scaling(work: Work, what: str) -> Draw:
    """Schedules of ``work`` scaled: its rates or its burstiness by a factor, from another seed at each repeat.

    A recording is described by fitted windows first: what is sent then is like it, and not it.

    Raises:
        BadSetting: Constant arrivals have no burstiness.
    """
    workload = described(work) if isinstance(work, Workload) else fitted(work)

    def draw(factor: float, repeat: int) -> Schedule:
        scaled = scaled_workload(workload, **{what: factor})
        return make(replace(scaled, seed=workload.seed + repeat))

    return draw


def longest(duration: Seconds, flag: str) -> Seconds:
    """Refuse what is no duration of a load. Raises BadQuantity."""
    if not 0 < duration <= LONGEST:
        raise BadQuantity(f"{flag}: must be above 0, and a year at most")
    return duration
