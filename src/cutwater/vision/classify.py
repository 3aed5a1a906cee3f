"""What a classifier saw: raw class scores to the few best labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadTensor

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Guess:
    """One class a picture may show."""

    label: int
    """Class index; `labels` has the names."""
    probability: float


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return result


def best_guesses(logits: Floats, count: int = 5) -> list[list[Guess]]:
    """For each picture of logits [batch, classes], its ``count`` most probable classes, best first.

    Equal scores keep the order of their classes. Raises BadTensor for any other shape.
    """
    if logits.ndim != 2:
        raise BadTensor(f"class scores have shape {list(logits.shape)}; expected [batch, classes]")
    probabilities = softmax(logits)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        [Guess(int(label), float(row[label])) for label in chosen]
        for row, chosen in zip(probabilities, order, strict=True)
    ]
