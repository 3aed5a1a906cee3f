"""Weights for networks that only have to be realistic in size and range: drawn from a seed, scaled so signals survive.

Scaling: He et al., "Delving Deep into Rectifiers" (ICCV 2015), section 2.2.
"""

import math

import numpy as np

from cutwater.zoo.builder import Floats

RELU_GAIN = math.sqrt(2.0)
"""A rectifier halves the mean square of a signal."""
SILU_GAIN = 1.68
"""SiLU leaves 0.356 of it."""
LINEAR_GAIN = 1.0
BRANCH_GAIN = 0.3
"""For the last layer of a residual branch, so that sums over many blocks do not grow."""

_BIAS = 0.05


class Seeded:
    """Draws the weights of one network, layer by layer, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Floats:
        """Float32 normal numbers with this standard deviation."""
        drawn = self._rng.standard_normal(shape, dtype=np.float32)
        drawn *= np.float32(scale)
        return drawn

    def conv(self, out: int, per_group: int, kernel: int, gain: float = RELU_GAIN) -> tuple[Floats, Floats]:
        """Weight [out, per_group, kernel, kernel] and bias [out]; ``gain`` undoes the activation before it."""
        scale = gain / math.sqrt(per_group * kernel * kernel)
        return self.normal(out, per_group, kernel, kernel, scale=scale), self.normal(out, scale=_BIAS)

    def linear(self, out: int, into: int, gain: float = LINEAR_GAIN) -> tuple[Floats, Floats]:
        """Weight [out, into] and bias [out]."""
        return self.normal(out, into, scale=gain / math.sqrt(into)), self.normal(out, scale=_BIAS)
