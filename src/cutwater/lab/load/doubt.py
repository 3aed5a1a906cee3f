"""Doubt: what is known of a mean, a percentile and a share from one run, whose requests are not independent.

A request that comes while others wait is late because they are. So the number of requests says too little about how
much is known; it is divided by the design effect (Kish, "Survey Sampling", 1965, section 8.2): the variance that a
share really has, estimated from means of consecutive batches, over the one it would have if requests were independent.

    mean         its batches' means, Student's t (Law, "Simulation Modeling and Analysis", batch means)
    percentile   between order statistics (distribution-free), the share below it being as doubtful as such a share is
                 (Woodruff, "Confidence intervals for medians and other position measures", JASA 47, 1952)
    share        Wilson's interval ("Probable inference", JASA 22, 1927) with the effective number of requests
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

BATCHES = 20
T_FEW = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
)  # fmt: skip
"""Student's t for 95 % with 1 degree of freedom, 2, ...; with more it is hardly less."""
T = T_FEW[BATCHES - 2]
FEW = 10
"""Samples a batch must have; of fewer in all, nothing is said about their dependence."""

Samples = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Estimate(msgspec.Struct, frozen=True):
    """A figure, and between what it lies with 95 % confidence; infinite where nothing bounds it."""

    value: float
    low: float
    high: float


def mean(samples: Samples) -> Estimate:
    """The mean of at least one sample, given in the order of time."""
    value = float(samples.mean())
    if len(samples) >= BATCHES * FEW:
        means = _batched(samples)
        margin = T * float(means.std(ddof=1)) / math.sqrt(BATCHES)
    elif len(samples) > 1:
        margin = T_FEW[min(len(samples) - 1, len(T_FEW)) - 1] * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    else:
        margin = math.inf
    return Estimate(value, value - margin, value + margin)


def percentile(samples: Samples, share: float) -> Estimate:
    """The smallest of the samples, given in the order of time, that at least ``share`` of them do not exceed."""
    ordered = np.sort(samples)
    count = len(ordered)
    rank = max(math.ceil(share * count - 1e-9), 1)
    value = float(ordered[rank - 1])
    margin = T * math.sqrt(design_effect(samples <= value) * share * (1 - share) * count)
    low, high = math.floor(share * count - margin), math.ceil(share * count + margin) + 1
    return Estimate(
        value,
        float(ordered[low - 1]) if low >= 1 else 0.0,
        float(ordered[high - 1]) if high <= count else math.inf,
    )


def share(flags: Flags) -> Estimate:
    """The share of at least one flag, given in the order of time, that is set."""
    return wilson(float(flags.mean()), len(flags) / design_effect(flags))


def wilson(value: float, count: float) -> Estimate:
    """The interval of a share found among ``count`` independent ones."""
    square = T * T
    centre = (value + square / (2 * count)) / (1 + square / count)
    margin = T / (1 + square / count) * math.sqrt(value * (1 - value) / count + square / (4 * count * count))
    # At 0 and 1 the interval ends there, and rounding must not leave the share outside.
    return Estimate(value, min(max(centre - margin, 0.0), value), max(min(centre + margin, 1.0), value))


def design_effect(flags: Flags) -> float:
    """How many times the variance of a share is that of independent flags; at least 1."""
    value = float(flags.mean())
    if len(flags) < BATCHES * FEW or value in (0.0, 1.0):
        return 1.0
    batches = _batched(flags.astype(np.float64))
    independent = value * (1 - value) / (len(flags) / BATCHES)
    return max(float(batches.var(ddof=1)) / independent, 1.0)


def _batched(samples: Samples) -> Samples:
    """Means of equal batches; what is left over at the end belongs to none."""
    size = len(samples) // BATCHES
    return np.asarray(samples[: size * BATCHES].reshape(BATCHES, size).mean(axis=1))
