"""Labels: partial plans, held as columns.

A label is a partial plan: the nodes it used, the unit it stands on, the cut it reached, its cost, how busy its last
node already is, and what it took of shared resources.
"""

from dataclasses import dataclass

import numpy as np

from cutwater.plan.problem import Floats, Ints


@dataclass(frozen=True, slots=True)
class Labels:
    """Many labels as columns; L of them."""

    used: Ints
    unit: Ints
    cut: Ints
    cost: Floats
    busy: Floats
    """[L] seconds the current unit works already, per replica."""
    loads: Floats
    """[L, D + 2] shared loads; then what the first hop costs the source while it may still run a stage; then what
    a stage on the sink costs it."""
    first: Ints
    """[L] codec of the first hop, for labels whose source is still free and that have one stage; else -1."""
    parent: Ints
    codec: Ints
    """[L] codec of the hop that led here."""

    def __len__(self) -> int:
        return len(self.used)

    def take(self, which: Ints) -> "Labels":
        """Some of the labels."""
        return Labels(*(getattr(self, name)[which] for name in self.__slots__))


def join(parts: list[Labels], loads: int) -> Labels:
    """All labels of ``parts``; without any, no labels, with so many columns of ``loads``."""
    if not parts:
        ints, floats = np.zeros(0, np.int64), np.zeros(0)
        return Labels(ints, ints, ints, floats, floats, np.zeros((0, loads)), ints, ints, ints)
    return Labels(*(np.concatenate([getattr(part, name) for part in parts]) for name in Labels.__slots__))
