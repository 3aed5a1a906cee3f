"""Arrivals: the ways in which requests come, each a small description without chance; `draw` makes times of them.

    constant     at equal distances
    poisson      independent of each other
    gamma        in clumps: gaps with a coefficient of variation (CV)
    steps        a rate that changes at known times
    bursts       a rate that goes on and off
    diurnal      a rate that swings like day and night
    modulated    a rate that jumps at random (a Markov-modulated Poisson process)
    windows      a rate and a CV for each window of time, as fitted to a recording
    replay       exactly as recorded
    sum          several of these at once

What comes at a changing rate may come in clumps as well: `cv` is the coefficient of variation the gaps would have if
the rate stood still (1: Poisson). Gaps are drawn at a rate of 1, and time is then stretched so that the rate is what it
should be (Gerhardt and Nelson, "Transforming renewal processes for simulation of nonstationary arrival processes",
INFORMS Journal on Computing 21(4), 2009).
"""

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadQuantity
from cutwater.workload.limits import (
    LONGEST,
    Checked,
    Duration,
    Moment,
    Rate,
    RateOrNone,
    Share,
    Variation,
    WeightOrNone,
)

Times = NDArray[np.float64]
"""Seconds from the start, ascending."""


class _Kind(Checked, frozen=True, omit_defaults=True, tag_field="kind", tag=str.lower):
    pass


class Constant(_Kind, frozen=True):
    """Requests at equal distances, the first at once."""

    rate: Rate


class Poisson(_Kind, frozen=True):
    """Requests independent of each other."""

    rate: Rate


class Gamma(_Kind, frozen=True):
    """Requests whose gaps are Gamma-distributed: the higher the CV, the more they clump; below 1 they are even."""

    rate: Rate
    cv: Variation


class Step(Checked, frozen=True, omit_defaults=True):
    """A change of the rate."""

    at: Moment
    rate: RateOrNone


class Steps(_Kind, frozen=True):
    """A rate that changes at known times; the last one stays."""

    steps: tuple[Step, ...]
    cv: Variation = 1.0

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if not self.steps or self.steps[0].at != 0:
            raise BadQuantity("steps: the first step begins at 0")
        for k, (before, step) in enumerate(zip(self.steps, self.steps[1:], strict=False), 1):
            if step.at <= before.at:
                raise BadQuantity(f"steps[{k}].at: {step.at:g} s must be after the step before it, at {before.at:g} s")


class Bursts(_Kind, frozen=True):
    """A burst, a pause, a burst and so on, all of known lengths; for random lengths see `Modulated`."""

    rate: Rate
    """During a burst."""
    burst: Duration
    pause: Duration
    idle: RateOrNone = 0.0
    """The rate in a pause."""
    cv: Variation = 1.0


class Diurnal(_Kind, frozen=True):
    """A rate that follows a cosine."""

    rate: Rate
    """On average over a period."""
    swing: Share
    """How far it goes up and down, as a share of the average."""
    period: Duration = 86400.0
    peak: Moment | None = None
    """When the rate is highest; None: half a period after the start."""
    cv: Variation = 1.0


class State(Checked, frozen=True, omit_defaults=True):
    """One of the rates between which a modulated process jumps."""

    rate: RateOrNone
    stay: Duration
    """For how long on average; the time is exponentially distributed."""
    moves: tuple[WeightOrNone, ...] = ()
    """A weight for each state to go to afterwards; none: every other one is equally likely."""


class Modulated(_Kind, frozen=True):
    """A Markov-modulated Poisson process: the rate jumps at random between states; begun in equilibrium."""

    states: tuple[State, ...]
    cv: Variation = 1.0

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if len(self.states) < 2:
            raise BadQuantity("states: needs at least two; at a single rate, use poisson")
        for k, moves in enumerate(state.moves for state in self.states):
            if moves and (len(moves) != len(self.states) or moves[k] != 0 or not sum(moves) > 0):
                raise BadQuantity(
                    f"states[{k}].moves: needs a weight for each of the {len(self.states)} states, 0 for itself"
                )
        here = self.shares()
        if not (np.isfinite(here).all() and here.min() > 0):
            raise BadQuantity("states: from each state every other must be reached sooner or later")

    def matrix(self) -> NDArray[np.float64]:
        """How likely each state (row) is followed by each other (column)."""
        count = len(self.states)
        rows = [state.moves or [float(j != k) for j in range(count)] for k, state in enumerate(self.states)]
        weights = np.array(rows, dtype=np.float64)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def shares(self) -> NDArray[np.float64]:
        """The share of time spent in each state in the long run; NaN where some are never left or never reached."""
        count = len(self.states)
        balance = np.vstack([self.matrix().T - np.eye(count), np.ones(count)])
        visits, _, rank, _ = np.linalg.lstsq(balance, np.append(np.zeros(count), 1.0))
        if rank < count:
            return np.full(count, np.nan)
        time = visits * np.array([state.stay for state in self.states])
        return np.asarray(np.where(time > 1e-12 * time.sum(), time, 0.0) / time.sum())


class Windows(_Kind, frozen=True):
    """A rate and a CV for each window of time, one after the other; nothing comes after the last."""

    window: Duration
    """How long each is."""
    rates: tuple[RateOrNone, ...]
    cvs: tuple[Variation, ...]

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if not self.rates or len(self.rates) != len(self.cvs):
            raise BadQuantity(f"cvs: {len(self.rates)} rates need as many CVs, at least one; not {len(self.cvs)}")


class Replay(_Kind, frozen=True, eq=False):
    """Requests exactly when they were recorded; nothing comes after the recording's end."""

    times: Times
    length: Duration
    """Of the recording."""
    speed: Rate = 1.0
    """How many times faster it is replayed."""
    skip: Moment = 0.0
    """So much of the recording, in its own time, is left out at the beginning."""
    file: str = ""
    """Where it was read."""
    model: str = ""
    """What it is called there."""

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        check_times("times", self.times)

    def __eq__(self, other: Any) -> bool:
        """Whether the same comes."""
        same = isinstance(other, Replay) and self._facts() == other._facts()
        return same and bool(np.array_equal(self.times, other.times))

    def __hash__(self) -> int:
        """Equal ones have equal ones."""
        return hash((*self._facts(), len(self.times)))

    def _facts(self) -> tuple[object, ...]:
        return (self.length, self.speed, self.skip, self.file, self.model)


class Sum(_Kind, frozen=True):
    """Several at once, independent of each other."""

    parts: tuple["Arrivals", ...]

    def __post_init__(self) -> None:
        """Raises BadQuantity."""
        super().__post_init__()
        if not self.parts:
            raise BadQuantity("parts: needs at least one")


Arrivals = Constant | Poisson | Gamma | Steps | Bursts | Diurnal | Modulated | Windows | Replay | Sum


def kind_of(arrivals: Arrivals | type[Arrivals]) -> str:
    """As they are called in files."""
    return str(arrivals.__struct_config__.tag)


KINDS: dict[str, type[Arrivals]] = {kind_of(form): form for form in get_args(Arrivals)}
"""Name, as in files -> its type."""


def check_times(path: str, times: Times) -> None:
    """Refuse what are no times in order. Raises BadQuantity that begins with the place of the first one."""
    wrong = first_wrong(times)
    if wrong is not None:
        raise BadQuantity(f"{path}[{wrong[0]}]: {wrong[1]}")


def first_wrong(times: Times) -> tuple[int, str] | None:
    """The first that is no moment from 0 up to a year, or is before the one before it, and what is wrong with it."""
    bad = ~((times >= 0) & (times <= LONGEST))
    bad[1:] |= times[1:] < times[:-1]
    if not bad.any():
        return None
    k = int(bad.argmax())
    if 0 <= times[k] <= LONGEST:
        return k, f"{times[k]:.12g} s comes after {times[k - 1]:.12g} s: the times must ascend; sort them"
    far = times[k] > LONGEST
    return k, f"{times[k]:g} is {'over a year' if far else 'no time'}; times are seconds from the start, which is at 0"
