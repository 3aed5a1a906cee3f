"""What a solver is: a Problem and an Objective in, a Choice with a proven bound out; and the table of solvers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cutwater.plan.objective import Objective
from cutwater.plan.problem import Choice, Problem


@dataclass(frozen=True, slots=True)
class Solution:
    """A choice, its value by `Objective.value`, and a value that no choice is below."""

    choice: Choice | None
    """None: the solver found no choice that keeps all limits."""
    value: float
    bound: float
    """Infinite where it is proven that no choice keeps all limits."""
    solver: str

    @property
    def gap(self) -> float:
        """How far the value can be above the optimum at most, as a fraction of the bound."""
        if self.value <= self.bound:
            return 0.0
        return self.value / self.bound - 1.0 if self.bound > 0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much a solver may do."""

    rng: np.random.Generator
    """Chance for solvers that use it."""
    go_on: Callable[[], bool] = lambda: True
    """Asked now and then; False ends the search with what was found."""
    steps: int = 2000
    """Steps of a local search."""
    labels: int = 100_000
    """Most partial plans an exact search holds at once; it grows 20 times as many in all, then settles for a gap."""


class Solver(Protocol):
    """A way to find a plan."""

    def __call__(self, problem: Problem, objective: Objective, effort: Effort) -> Solution:
        """The best choice this solver finds."""
        ...
