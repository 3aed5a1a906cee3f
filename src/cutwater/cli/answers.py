"""A model's answers as people and as programs read them."""

from typing import Any

from cutwater.api.tasks import classes_of, detections_of, task_of
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import BadTensor, CutwaterError
from cutwater.frameworks.base import Array
from cutwater.lab.inputs import Item
from cutwater.services.workers.outcome import Outcome
from cutwater.vision.detect import Detection
from cutwater.vision.labels import name_of
from cutwater.vision.task import CLASSIFY, DETECT

LARGEST = 4096
"""Elements of an output whose values are written as JSON; of a larger one only type and shape are."""


class Reader:
    """Reads the answers of one model."""

    def __init__(self, record: ModelRecord, top: int, threshold: float) -> None:
        """``top``: how many classes to name; ``threshold``: smallest score of a detection."""
        self.record = record
        self.task = task_of(record)
        self._top = top
        self._threshold = threshold

    def detections(self, item: Item, outcome: Outcome | CutwaterError) -> list[Detection]:
        """What a detector saw in a picture; nothing, where it is none, or there is no answer."""
        if self.task != DETECT or item.size is None or isinstance(outcome, CutwaterError):
            return []
        height, width = item.size
        return detections_of(self.record, outcome.outputs, width, height, self._threshold)

    def words(self, item: Item, outcome: Outcome) -> str:
        """An answer as people read it: "person 87 %, bicycle 61 %"."""
        if self.task == DETECT and item.size is not None:
            seen = self.detections(item, outcome)
            return ", ".join(f"{self._name(each.label)} {100 * each.score:.0f} %" for each in seen) or "nothing"
        if named := self._guesses(outcome):
            return ", ".join(f"{name} {share:.1%}" for name, share in named)
        return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in outcome.outputs.items())

    def facts(self, item: Item, outcome: Outcome | CutwaterError) -> dict[str, Any]:
        """An answer as programs read it; seconds, pixels of the picture."""
        found: dict[str, Any] = {"input": item.name}
        if item.frame is not None:
            found.update(frame=item.frame, time=item.time)
        if isinstance(outcome, CutwaterError):
            return {**found, "error": {"kind": outcome.kind, "message": str(outcome)}}
        found.update(request=outcome.request, latency=outcome.latency, degraded=outcome.degraded)
        if self.task == DETECT and item.size is not None:
            found["detections"] = [
                {
                    "label": self._name(each.label),
                    "class": each.label,
                    "score": round(each.score, 4),
                    "box": [round(edge, 2) for edge in (each.x1, each.y1, each.x2, each.y2)],
                }
                for each in self.detections(item, outcome)
            ]
        elif named := self._guesses(outcome):
            found["classes"] = [{"label": label, "probability": share} for label, share in named]
        else:
            found["outputs"] = {name: _values(array) for name, array in outcome.outputs.items()}
        return found

    def _guesses(self, outcome: Outcome) -> list[tuple[str, float]]:
        """The best classes of a classifier's answer with their probabilities; empty where it is none."""
        if self.task != CLASSIFY:
            return []
        try:
            best = classes_of(self.record, outcome.outputs, self._top)
        except BadTensor:  # a batch, or outputs beside the classes: they are shown as they are
            return []
        return [(self._name(guess.label), guess.probability) for guess in best]

    def _name(self, label: int) -> str:
        return name_of(self.record.labels, label)


def _values(array: Array) -> dict[str, Any]:
    said: dict[str, Any] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size <= LARGEST and array.dtype.kind != "c":
        said["values"] = array.tolist()
    return said
