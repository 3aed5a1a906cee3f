"""Tasks: a picture to what a model is fed, and the model's outputs to classes, or to boxes in the picture's own pixels.

All but `picture_feeds` are pure functions of their arguments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np

from cutwater.api.backend import Backend, Feeds, ModelCard, Standing
from cutwater.api.pictures import aside
from cutwater.engine.facts.models import Pictures
from cutwater.errors import BadSetting, BadTensor, NotFound, TooLarge, did_you_mean
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Tensor
from cutwater.units import Seconds
from cutwater.vision.classify import Guess, best_guesses
from cutwater.vision.detect import Detection, Selection, select_boxes, to_detections
from cutwater.vision.pictures import MAX_PIXELS, decode_picture, picture_size
from cutwater.vision.prepare import Preparation, frame_size, is_encoded, picture_input, prepare
from cutwater.vision.resize import Framing
from cutwater.vision.task import raw_boxes, recognised_task, selected

DEFAULT_TOP = 5
DEFAULT_THRESHOLD = 0.25


class Looker(Protocol):
    """What is to be known of a model that looks at pictures: `ModelCard` and `ModelRecord` say it."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[Tensor, ...]: ...
    @property
    def outputs(self) -> tuple[Tensor, ...]: ...
    @property
    def pictures(self) -> Pictures: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def task(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """Which pictures are looked at."""

    max_bytes: int = 32 * 2**20
    """Of the picture's file."""
    max_pixels: int = MAX_PIXELS
    """Width times height. The header tells; a picture beyond is never decoded."""


async def picture_feeds(
    model: Looker, encoded: bytes, limits: PictureLimits = PictureLimits(), *, until: Seconds = inf
) -> Feeds:
    """See `feeds_of` and `Studio.aside`: it runs beside the event loop."""
    return await aside(feeds_of, model, encoded, limits, until=until)


def feeds_of(model: Looker, encoded: bytes, limits: PictureLimits = PictureLimits()) -> Feeds:
    """What a model is fed for one picture: its pixels as the input wants them, or the file itself where it takes that.

    Args:
        model: Who looks.
        encoded: The picture as its file holds it.
        limits: What is refused, before anything is decoded.

    Raises:
        TooLarge: More bytes than allowed.
        BadPicture: No picture, a broken one, or more pixels than allowed.
        BadTensor: The model takes no picture.
    """
    target = picture_input(model.inputs, f"model {model.name!r}")
    measured_picture(encoded, limits)
    if is_encoded(target):
        return {target.name: np.frombuffer(encoded, np.uint8)}
    how = model.pictures
    pixels = decode_picture(encoded, "image", limits.max_pixels)
    return {target.name: prepare(pixels, target, Preparation(how.mean, how.std, how.fit, how.share))}


def measured_picture(encoded: bytes, limits: PictureLimits = PictureLimits()) -> tuple[int, int]:
    """Height and width of a picture within the limits, from its header. Raises TooLarge, BadPicture."""
    if len(encoded) > limits.max_bytes:
        raise TooLarge(f"image: {len(encoded)} bytes are over the limit of {limits.max_bytes}; shrink it first")
    return picture_size(encoded, "image", limits.max_pixels)


def classes_of(model: Looker, outputs: Mapping[str, Array], top: int = DEFAULT_TOP) -> list[Guess]:
    """What a classifier saw, best first; at most ``top``, and as many as its outputs hold.

    Raises:
        BadTensor: The outputs are no classes.
    """
    if outputs.keys() == {"scores", "classes"}:
        scores, classes = outputs["scores"], outputs["classes"]
        if scores.ndim == 2 and scores.shape == classes.shape and scores.shape[0] == 1:
            best = zip(classes[0, :top], scores[0, :top], strict=True)
            return [Guess(int(label), float(score)) for label, score in best]
    elif len(outputs) == 1:
        (scores,) = outputs.values()
        if scores.ndim == 2 and scores.shape[0] == 1 and scores.dtype.kind == "f":
            return best_guesses(scores.astype(np.float32), top)[0]
    raise BadTensor(f"model {model.name!r} answers {_listed(outputs)}, which are no classes")


def detections_of(
    model: Looker,
    outputs: Mapping[str, Array],
    width: int,
    height: int,
    threshold: float = DEFAULT_THRESHOLD,
) -> list[Detection]:
    """What a detector saw in a picture of ``width`` by ``height``, best first, in that picture's pixels.

    Args:
        model: Who looked: how it fits pictures into its frame is undone.
        outputs: ``boxes`` [1, limit, 6] as `SelectBoxes` leaves them, or raw boxes [1, 4 + classes, n].
        width: Of the picture, upright.
        height: Of the picture, upright.
        threshold: Smallest score, in 0..1. A model that selects its boxes itself has a smallest of its own.

    Raises:
        BadTensor: The outputs are no boxes.
    """
    found = next(iter(outputs.values())) if len(outputs) == 1 else np.zeros(0)
    name = next(iter(outputs), "")
    tensor = Tensor(name, found.dtype.name, found.shape, found.nbytes)
    if selected(tensor):
        boxes = found[0].astype(np.float32)
    elif raw_boxes(tensor) and found.dtype.kind == "f":
        boxes = select_boxes(found[0].astype(np.float32), Selection(score=threshold))
    else:
        raise BadTensor(f"model {model.name!r} answers {_listed(outputs)}, which are no boxes")
    how = model.pictures
    frame = (how.height, how.width)
    if not all(frame):
        frame = frame_size(picture_input(model.inputs, f"model {model.name!r}"))
    framing = Framing.of(how.fit, height, width, *frame, how.share)
    return to_detections(boxes[boxes[:, 4] >= threshold], framing)


def task_of(model: Looker) -> str:
    """What a model answers: as it says itself, or as its outputs tell."""
    return model.task or recognised_task(model.outputs, len(model.labels))


def model_for(backend: Backend, task: str, name: str = "") -> ModelCard:
    """The model that a request for a task means: the one it names, or the only one that can be asked.

    Raises:
        NotFound: No such model, or none of that task is ready.
        BadSetting: The model named has another task, or several could be meant.
    """
    able = [card for card in backend.models() if task_of(card) == task]
    if name:
        card = backend.model(name)
        if task_of(card) != task:
            raise BadSetting(
                f"model: {name!r} is none to {task} with{did_you_mean(name, [each.name for each in able])}"
            )
        return card
    ready = [card for card in able if card.standing is Standing.READY]
    if len(ready) == 1:
        return ready[0]
    if ready:
        raise BadSetting(f"model: several can {task}; name one of {_names(ready)}")
    if able:
        states = ", ".join(f"{card.name} is {card.standing} ({card.why})" for card in able)
        raise NotFound(f"no model is ready to {task} with: {states}; `cutwater deploy {able[0].name}` deploys it")
    raise NotFound(f"the cluster knows no model to {task} with; `cutwater model add` makes one known")


def _names(cards: Sequence[ModelCard]) -> str:
    return ", ".join(card.name for card in cards)


def _listed(outputs: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in outputs.items()) or "nothing"
