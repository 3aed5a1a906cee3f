"""Scales rates and CVs, of descriptions and of recordings.

What that means is the same for all kinds. The rate at every moment is multiplied. The CV that is multiplied is that of
the gaps at a rate that stands still (`cv` of a description): clumps become denser, jumps and swings of the rate stay
as they are. A recording has neither, so it is fitted first (`fit`), and its windows are scaled: what comes then is not
the recording any more, but what is drawn from the fit.
"""

from collections.abc import Callable
from typing import assert_never

from msgspec.structs import replace

from cutwater.errors import BadQuantity, BadSetting
from cutwater.units import Seconds
from cutwater.workload.arrivals import (
    Arrivals,
    Bursts,
    Constant,
    Diurnal,
    Gamma,
    Modulated,
    Poisson,
    Replay,
    Steps,
    Sum,
    Windows,
)
from cutwater.workload.draw import replayed
from cutwater.workload.fit import fit
from cutwater.workload.schedule import Schedule
from cutwater.workload.workload import Demand, Workload

WINDOW: Seconds = 60.0
"""Of the fit through which a recording is scaled."""


def scaled(arrivals: Arrivals, *, rate: float = 1.0, cv: float = 1.0, window: Seconds = WINDOW) -> Arrivals:
    """The same arrivals, ``rate`` times as many, with ``cv`` times the variation.

    Args:
        arrivals: of any kind; Poisson ones become Gamma if their CV changes, a replay becomes windows.
        rate: factor.
        cv: factor.
        window: for the fit of a replay.

    Raises:
        BadQuantity: A factor is not above 0, or leads out of what is possible.
        BadSetting: Constant arrivals have no variation.
    """
    for name, factor in (("rate", rate), ("cv", cv)):
        if not 0 < factor < float("inf"):
            raise BadQuantity(f"{name}: {factor:g} is no factor to scale by; it must be above 0")
    if rate == cv == 1.0:
        return arrivals
    match arrivals:
        case Constant():
            if cv != 1.0:
                raise BadSetting("cv: constant arrivals have no variation that could be scaled; use gamma")
            return replace(arrivals, rate=arrivals.rate * rate)
        case Poisson():
            return Poisson(arrivals.rate * rate) if cv == 1.0 else Gamma(arrivals.rate * rate, cv)
        case Gamma() | Diurnal():
            return replace(arrivals, rate=arrivals.rate * rate, cv=arrivals.cv * cv)
        case Bursts():
            return replace(arrivals, rate=arrivals.rate * rate, idle=arrivals.idle * rate, cv=arrivals.cv * cv)
        case Steps():
            steps = tuple(replace(step, rate=step.rate * rate) for step in arrivals.steps)
            return Steps(steps, arrivals.cv * cv)
        case Modulated():
            states = tuple(replace(state, rate=state.rate * rate) for state in arrivals.states)
            return Modulated(states, arrivals.cv * cv)
        case Windows():
            rates, cvs = tuple(each * rate for each in arrivals.rates), tuple(each * cv for each in arrivals.cvs)
            return Windows(arrivals.window, rates, cvs)
        case Replay():
            return scaled(_fit(arrivals, window), rate=rate, cv=cv)
        case Sum():
            return Sum(tuple(scaled(part, rate=rate, cv=cv, window=window) for part in arrivals.parts))
        case _:
            assert_never(arrivals)


def scaled_workload(workload: Workload, *, rate: float = 1.0, cv: float = 1.0, window: Seconds = WINDOW) -> Workload:
    """A workload with all its arrivals scaled. Raises as `scaled` does."""

    return _changed(workload, lambda arrivals: scaled(arrivals, rate=rate, cv=cv, window=window))


def described(workload: Workload, *, window: Seconds = WINDOW) -> Workload:
    """A workload in which every recording is described by windows fitted to it, as where it is scaled.

    Raises:
        BadQuantity: A recording cannot be fitted.
    """

    def describe(arrivals: Arrivals) -> Arrivals:
        match arrivals:
            case Replay():
                return _fit(arrivals, window)
            case Sum():
                return Sum(tuple(describe(part) for part in arrivals.parts))
            case _:
                return arrivals

    return _changed(workload, describe)


def _fit(recording: Replay, window: Seconds) -> Windows:
    length = (recording.length - recording.skip) / recording.speed
    return fit(replayed(recording, length), length, window)


def _changed(workload: Workload, change: Callable[[Arrivals], Arrivals]) -> Workload:
    models = {
        model: demand if demand.arrivals is None else replace(demand, arrivals=change(demand.arrivals))
        for model, demand in workload.models.items()
    }
    mixes = {name: replace(mix, arrivals=change(mix.arrivals)) for name, mix in workload.mixes.items()}
    return replace(workload, models=models, mixes=mixes)


def fitted(schedule: Schedule, window: Seconds = WINDOW, *, seed: int = 0) -> Workload:
    """A workload that is like a recording, model by model: windows fitted to each that has requests."""
    models = {
        model: Demand(fit(times, schedule.duration, window), schedule.slos.get(model))
        for model, times in schedule.times.items()
        if len(times)
    }
    return Workload(models, schedule.duration, seed)
