"""Demand: how many requests of one deployment are asked for per second, now and soon, and how unevenly they come.

What counts is what is asked, whether it is let in or refused. The level follows it with a trend (Holt, "Forecasting
seasonals and trends by exponentially weighted moving averages", 1957). A change larger than the usual unevenness is a
step: then the level is what was seen of late (as in Trigg and Leach, "Exponential smoothing with an adaptive response
rate", Operational Research Quarterly 18(1), 1967). A rise too small for that is a step when what came beyond what was
expected adds up (Page, "Continuous inspection schemes", Biometrika 41, 1954). The unevenness is the index of
dispersion, variance over mean of the counts, from the differences of counts that follow each other, which no slow
change disturbs (von Neumann et al., "The mean square successive difference", Annals of Mathematical Statistics 12(2),
1941).
"""

from math import exp, inf, log, sqrt

import msgspec

from cutwater.units import Seconds


class DemandOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it learns, and forgets."""

    sample: Seconds = 1.0
    """Counts are taken over so long, at least."""
    level: Seconds = 15.0
    """How long the level remembers."""
    trend: Seconds = 30.0
    """How long the trend does."""
    recent: Seconds = 2.0
    """What was seen of late is remembered for so long; a step shows in it."""
    step: float = 4.0
    """So many standard deviations from the level, what was seen of late is a step."""
    allowance: float = 0.5
    """So many standard deviations of a second's count beyond what is expected are let pass, each second."""
    excess: float = 7.0
    """When what goes beyond that has added up to so many, it is a step, too."""
    dispersion: Seconds = 60.0
    """How long the unevenness is remembered."""
    outlier: float = 5.0
    """A difference counts for the unevenness as at most so many standard deviations: a step is none of it."""
    standing: Seconds = 5.0
    """Requests that wait are work left over, if some have waited during all of so long."""


class Demand:
    """Of one deployment, all gateways together."""

    __slots__ = (
        "_asked", "_began", "_excess", "_last", "_lasting", "_mean", "_options", "_queues", "_recent", "_since",
        "_waiting", "_wave", "level", "trend",
    )  # fmt: skip

    def __init__(self, now: Seconds, options: DemandOptions = DemandOptions()) -> None:  # noqa: B008
        self.level: float | None = None
        """Requests per second; None: too little was seen."""
        self.trend = 0.0
        """How many more it is each second."""
        self._options = options
        self._began = now
        self._asked = 0
        self._last: float | None = None
        """Requests per second in the newest sample."""
        self._recent = 0.0
        self._since = 0
        """Samples since the last step."""
        self._excess = 0.0
        """Requests beyond what was expected and is let pass, and ``_lasting`` since when there have been any."""
        self._lasting: Seconds = 0.0
        self._mean = 0.0
        """Of the rates, and ``_wave`` of half their squared differences, times what a sample lasts."""
        self._wave = 0.0
        self._waiting = inf
        """Least number that waited in the sample that runs."""
        self._queues: list[tuple[Seconds, float]] = []

    def count(self, asked: int, waiting: int) -> None:
        """So many more were asked for, and so many wait now."""
        self._asked += asked
        self._waiting = min(self._waiting, waiting)

    def sample(self, now: Seconds) -> bool:
        """Take what was counted into account, if it is time to. Whether it was."""
        lasted = now - self._began
        if lasted < self._options.sample:
            return False
        rate, self._asked, self._began = self._asked / lasted, 0, now
        self._queues = [(at, queue) for at, queue in self._queues if at > now - self._options.standing]
        self._queues.append((now, 0.0 if self._waiting == inf else self._waiting))
        self._waiting = inf
        if self.level is None or self._last is None:
            self.level = self._recent = self._mean = self._wave = rate
        else:
            self._learn(rate, rate - self._last, lasted, self.level)
        self._last = rate
        return True

    def _learn(self, rate: float, difference: float, lasted: Seconds, level: float) -> None:
        options = self._options
        usual = max(self.dispersion * max(level, self._mean) / lasted, 1.0 / lasted)
        limit = options.outlier * options.outlier * 2.0 * usual
        weight = 1.0 - exp(-lasted / options.dispersion)
        self._mean += weight * (rate - self._mean)
        self._wave += weight * (min(difference * difference, limit) * lasted / 2.0 - self._wave)

        self._recent += (1.0 - exp(-lasted / options.recent)) * (rate - self._recent)
        usual = sqrt(max(self.dispersion * max(level, self._recent), 1.0))
        expected = max(level + self.trend * lasted, 0.0)
        allowed = options.allowance * usual
        self._excess = max(self._excess + (rate - expected - allowed) * lasted, 0.0)
        self._lasting = self._lasting + lasted if self._excess else 0.0
        if abs(self._recent - level) > options.step * usual / sqrt(2.0 * options.recent):
            # The sample in which a step was seen began before it: the next one counts for all, then all count alike.
            self._step(rate, 0)
            return
        if self._excess > options.excess * usual:
            self._step(level + allowed + self._excess / self._lasting, round(self._lasting / lasted))
            return
        self._since += 1
        weight = max(1.0 - exp(-lasted / options.level), 1.0 / self._since)
        self.level = max(expected + weight * (rate - expected), 0.0)
        if weight == 1.0 / self._since:
            return
        self.trend += (1.0 - exp(-lasted / options.trend)) * ((self.level - level) / lasted - self.trend)

    def _step(self, level: float, samples: int) -> None:
        """The level is another one from now on; so many samples have said so."""
        self.level = self._recent = level
        self.trend, self._since = 0.0, samples
        self._excess = self._lasting = 0.0

    @property
    def dispersion(self) -> float:
        """Variance over mean of the counts: 1 where requests come independently of each other, CV² for renewals."""
        return max(self._wave / self._mean, 1.0) if self._mean > 0 else 1.0

    @property
    def standing(self) -> float:
        """Requests that wait and are not merely on their way: the least of late."""
        return min((queue for _, queue in self._queues), default=0.0)

    def ahead(self, seconds: Seconds) -> float:
        """Requests per second expected so much later; a fall is not counted on."""
        return (self.level or 0.0) + max(self.trend, 0.0) * seconds


def headroom(dispersion: float, patience: Seconds, target: float) -> float:
    """Requests per second a deployment must be able to do beyond what comes, so that few wait too long.

    In heavy traffic, P(wait > t) = exp(-2 (capacity - rate) t / (ca² + cs²)) (Kingman, "The single server queue in
    heavy traffic", 1961; Köllerström, "Heavy traffic theory for queues with several servers", Journal of Applied
    Probability 11, 1974); computing is taken not to vary, which for networks it hardly does.

    Args:
        dispersion: of the arrivals, ca².
        patience: how long a request may wait.
        target: the share that may not wait longer.
    """
    return dispersion * log(1.0 / max(1.0 - target, 1e-6)) / (2.0 * patience)
