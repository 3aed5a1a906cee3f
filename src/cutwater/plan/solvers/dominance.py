"""undominated: of many rows, those that no other row is nowhere worse than."""

import numpy as np

from cutwater.plan.problem import Floats, Ints

ROUNDS = 48
"""Most rounds of comparing rows with three and more columns; keeping too many rows costs time, never the optimum."""


def undominated(key: Ints, columns: list[Floats]) -> Ints:
    """Indices of the rows that no other row with the same key is at most equal to in every column.

    Of equal rows one is kept. With three and more columns some dominated rows may stay.
    """
    order: Ints = np.lexsort((*reversed(columns), key))
    same = np.concatenate([[False], key[order][1:] == key[order][:-1]])
    if len(columns) < 2:
        return np.asarray(order[~same])
    if len(columns) == 2:
        rank = np.empty(len(order), np.int64)
        rank[np.argsort(columns[1][order], kind="stable")] = np.arange(len(order))
        group = np.cumsum(~same)
        floor = np.minimum.accumulate(rank - group * (len(order) + 1))
        below = np.concatenate([[0], floor[:-1]])
        return np.asarray(order[~same | (rank - group * (len(order) + 1) < below)])
    return _champions(order, np.cumsum(~same), np.stack([column[order] for column in columns], axis=1))


def _champions(order: Ints, group: Ints, rows: Floats) -> Ints:
    """Round by round the first row left in each group is kept and removes those it dominates."""
    alive = np.arange(len(order))
    kept = []
    for _ in range(ROUNDS):
        if not len(alive):
            break
        lead = np.concatenate([[True], group[alive][1:] != group[alive][:-1]])
        champion = alive[np.flatnonzero(lead)[np.cumsum(lead) - 1]]
        kept.append(alive[lead])
        beaten = np.all(rows[champion] <= rows[alive], axis=1)
        alive = alive[~beaten]
    return np.asarray(order[np.sort(np.concatenate([*kept, alive]))])
