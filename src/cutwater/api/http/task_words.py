"""The words of the tasks: what clients may wish, and what they are told. The description is made from these types."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cutwater.api.tasks import DEFAULT_THRESHOLD, DEFAULT_TOP
from cutwater.errors import BadQuantity, BadSetting
from cutwater.units import Seconds, parse_seconds


class PictureSize(msgspec.Struct, frozen=True):
    """Of a picture, upright."""

    width: int
    height: int


class Guessed(msgspec.Struct, frozen=True):
    """One class the picture may show."""

    label: str
    class_: int = msgspec.field(name="class")
    """Its number among the model's classes."""
    score: float
    """In 0..1."""


class Detected(msgspec.Struct, frozen=True):
    """One object."""

    label: str
    class_: int = msgspec.field(name="class")
    """Its number among the model's classes."""
    score: float
    """In 0..1."""
    box: Annotated[list[float], Meta(min_length=4, max_length=4)]
    """Left, top, right and bottom edge in pixels of the picture."""


class TaskAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What answers of all tasks say."""

    model: str
    request: str
    """What the gateway calls it; `cutwater story` tells more of it."""
    latency: Seconds
    """From having the picture to having the answer, in seconds."""
    degraded: bool
    """The gateway answered by itself, because no stage was left."""
    picture: PictureSize


class ClassifyAnswer(TaskAnswer, frozen=True, kw_only=True):
    """What a classifier saw."""

    classes: list[Guessed]
    """Best first."""


class DetectAnswer(TaskAnswer, frozen=True, kw_only=True):
    """What a detector saw."""

    detections: list[Detected]
    """Best first."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may say beside the picture, in the query or as fields of the form."""

    model: Annotated[str, Meta(description="Who shall look; default: the only model of this task that is ready.")] = ""
    top: Annotated[int, Meta(ge=1, le=1000, description="How many classes.")] = DEFAULT_TOP
    threshold: Annotated[float, Meta(ge=0, le=1, description="Smallest score of a detection.")] = DEFAULT_THRESHOLD
    annotate: Annotated[
        bool,
        Meta(description="Answer with the picture, boxes drawn in: as JPEG, or PNG where Accept names only that."),
    ] = False
    timeout: Annotated[
        str, Meta(description="How long it may take, such as 500 ms; a number alone is seconds. Default: the model's.")
    ] = ""
    priority: Annotated[int, Meta(ge=-100, le=100, description="Higher is sooner.")] = 0

    @property
    def seconds(self) -> Seconds | None:
        """``timeout`` as a number; None: the model's. Raises BadSetting."""
        if not self.timeout:
            return None
        try:
            found = parse_seconds(self.timeout)
        except BadQuantity as error:
            raise BadSetting(f"timeout: {error}") from None
        if found <= 0:
            raise BadSetting(f"timeout {self.timeout!r}: nothing can be answered in no time; say '500 ms'")
        return found
