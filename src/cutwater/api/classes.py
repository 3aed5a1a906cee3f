"""The classification extension: an output's largest elements as "score:index:label", instead of all of them."""

from collections.abc import Sequence

import numpy as np

from cutwater.errors import BadTensor
from cutwater.frameworks.base import Array

MOST = 2**16
"""Most elements that are named, over all rows: naming takes far longer than sending."""


def largest(name: str, array: Array, many: int, labels: Sequence[str]) -> Array:
    """The ``many`` largest elements of each row, the largest first; of equal ones the first.

    Args:
        name: Of the output, for errors.
        array: [..., classes], numbers.
        many: How many; all where there are fewer.
        labels: Of the classes, by index; may be empty.

    Returns:
        [..., many] of `bytes`.

    Raises:
        BadTensor: the output has no rows, or no numbers, or so many are wanted that naming them takes long.
    """
    if not array.ndim or not array.size or array.dtype.kind not in "iuf":
        raise BadTensor(f"output {name!r}: classification wants rows of scores, not {array.dtype} {list(array.shape)}")
    rows = array.reshape(-1, array.shape[-1])
    if len(rows) * min(many, rows.shape[1]) > MOST:
        raise BadTensor(f"output {name!r}: classification names at most {MOST} elements; ask for fewer of each row")
    order = np.argsort(-rows.astype(np.float64), axis=-1, kind="stable")[:, :many]
    found = np.empty(order.shape, object)
    for row, indices in enumerate(order):
        for place, index in enumerate(indices):
            label = f":{labels[index]}" if index < len(labels) else ""
            found[row, place] = f"{rows[row, index]:f}:{index}{label}".encode()
    return found.reshape(*array.shape[:-1], order.shape[-1])
