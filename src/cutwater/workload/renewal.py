"""Gaps at a rate of one: stationary Gamma renewal processes, many of them laid end to end, drawn all at once."""

import numpy as np
from numpy.random import Generator

from cutwater.workload.arrivals import Times


def renewals(lengths: Times, cvs: Times, rng: Generator) -> Times:
    """Events at a rate of one in each of some stretches that follow each other.

    Each stretch is begun in equilibrium: nothing is known of when the event before its start was. Its first event
    therefore comes after a uniform part of a gap that is longer than most (drawn in proportion to its length: Gamma of
    a shape greater by one), and ``lengths`` many are expected in it, no more (Cox, "Renewal Theory", 1962, chapter 2).

    Args:
        lengths: of the stretches; their events are expected to be as many.
        cvs: coefficient of variation of the gaps in each.

    Returns:
        Ascending, from 0 to the sum of the lengths.
    """
    begins = np.cumsum(lengths) - lengths
    shapes = cvs**-2.0
    last = rng.random(len(lengths)) * rng.standard_gamma(shapes + 1.0) / shapes
    going = np.flatnonzero(last < lengths)
    found = [begins[going] + last[going]]
    while going.size:
        left = lengths[going] - last[going]
        # Four standard deviations more than expected: most stretches are full after one round.
        counts = np.ceil(left + 4.0 * cvs[going] * np.sqrt(left) + 1.0).astype(np.intp)
        owner = np.repeat(np.arange(going.size), counts)
        ends = np.cumsum(counts)
        shape = shapes[going]
        at = np.cumsum(rng.standard_gamma(shape[owner]) / shape[owner])
        before = np.concatenate([[0.0], at[ends[:-1] - 1]])
        at += (last[going] - before)[owner]
        inside = at < lengths[going][owner]
        found.append((begins[going][owner] + at)[inside])
        last[going] = at[ends - 1]
        going = going[last[going] < lengths[going]]
    return np.sort(np.concatenate(found))
