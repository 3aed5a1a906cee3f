"""relax: lower bounds on what is still to come, from the same problem with nodes that may be used again and again.

Dropping "a node runs one stage only" makes the rest of a plan independent of its beginning: one backward pass over the
cuts gives the least cost from every (unit, cut). Prices on nodes (Lagrange multipliers) repair what that loses: with
price w_t on each use of kind t, ``least priced cost - sum(w_t * nodes of t still free)`` is a bound for every w >= 0
(Geoffrion, Lagrangean relaxation for integer programming, 1974).
"""

from dataclasses import dataclass

import numpy as np

from cutwater.plan.problem import Floats, Ints
from cutwater.plan.solvers.terms import Terms


@dataclass(frozen=True, slots=True)
class Outlook:
    """The least priced cost of completing a plan."""

    arrived: Floats
    """[V, C] from the moment a unit begins its stage at a cut."""
    left: Floats
    """[V, C] from the moment a unit has finished its stage at a cut."""
    price: Floats
    """[types]"""
    root: float
    """From the source, prices of all nodes taken off: a bound for every plan."""
    used: Ints
    """[types] how often the cheapest completion from the source uses each kind."""


def outlook(terms: Terms, stage: Floats, hop: Floats, price: Floats) -> Outlook:
    """Least priced costs, backwards over the cuts.

    Args:
        terms: Gives the units.
        stage: [V, C, C] cost of a stage between two cuts, infinite where it is not allowed.
        hop: [V + 1, V + 1, C] cost of a hop.
        price: [types] cost of using one node, not negative.
    """
    units, last = terms.units, stage.shape[1] - 1
    toll = price[terms.kind] * terms.count
    arrived = np.full((units, last + 1), np.inf)
    left = np.full((units, last + 1), np.inf)
    left[:, last] = hop[:units, units, last]
    step = hop[:units, :units] + toll[None, :, None]
    for cut in range(last - 1, -1, -1):
        arrived[:, cut] = (stage[:, cut, cut + 1 :] + left[:, cut + 1 :]).min(axis=1)
        left[:, cut] = (step[:, :, cut] + arrived[None, :, cut]).min(axis=1)
    first = hop[units, :units, 0] + toll + arrived[:, 0]
    root = float(first.min()) - float(price @ terms.have)
    used = np.zeros(len(terms.have), np.int64)
    if root < np.inf:
        unit, cut = int(first.argmin()), 0
        while True:
            used[terms.kind[unit]] += terms.count[unit]
            cut = cut + 1 + int((stage[unit, cut, cut + 1 :] + left[unit, cut + 1 :]).argmin())
            if cut == last:
                break
            unit = int((step[unit, :, cut] + arrived[:, cut]).argmin())
    return Outlook(arrived, left, price, root, used)


def priced_outlook(terms: Terms, stage: Floats, hop: Floats, price: Floats, *, rounds: int, enough: float) -> Outlook:
    """The best outlook found by moving prices along the subgradient ``used - have``.

    Args:
        terms: Gives the units.
        stage: As for `outlook`.
        hop: As for `outlook`.
        price: Where to begin.
        rounds: Most outlooks to compute.
        enough: Stop once the bound exceeds this.
    """
    best = outlook(terms, stage, hop, price)
    here, step = best, 0.3
    for _ in range(rounds):
        excess = here.used - terms.have
        if best.root > enough or not np.any(excess > 0):
            break
        scale = float(here.price @ terms.have) or max(abs(here.root), 1e-12) * 0.3
        slope = np.where((here.price <= 0) & (excess < 0), 0, excess)
        price = np.maximum(here.price + step * scale * slope / float(slope @ slope) / np.sqrt(len(slope)), 0.0)
        here = outlook(terms, stage, hop, price)
        if here.root > best.root:
            best = here
        else:
            step *= 0.85
    return best
