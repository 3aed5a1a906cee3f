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


def probabilities(scores: Floats) -> Floats:
    """Scores [batch, classes] as probabilities; those that are already stay as they are."""
    already = bool((scores >= 0).all()) and bool(np.allclose(scores.sum(axis=-1), 1, atol=1e-3))
    return scores if already else softmax(scores)


def best_guesses(logits: Floats, count: int = 5) -> list[list[Guess]]:
    """For each picture of logits or probabilities [batch, classes], its ``count`` most probable classes, best first.

    Equal scores keep the order of their classes. Raises BadTensor for any other shape.
    """
    if logits.ndim != 2:
        raise BadTensor(f"class scores have shape {list(logits.shape)}; expected [batch, classes]")
    likely = probabilities(logits)
    order = np.argsort(-likely, axis=1, kind="stable")[:, :count]
    return [
        [Guess(int(label), float(row[label])) for label in chosen] for row, chosen in zip(likely, order, strict=True)
    ]
