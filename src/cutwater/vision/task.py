"""What a model answers: classes, boxes, or nothing known; recognised from its outputs where they leave no doubt."""

from collections.abc import Sequence

from cutwater.graph.graph import Tensor

CLASSIFY = "classify"
DETECT = "detect"
TASKS = (CLASSIFY, DETECT)


def recognised_task(outputs: Sequence[Tensor], classes: int = 0) -> str:
    """`CLASSIFY`, `DETECT`, or "" where outputs alone do not tell.

    Args:
        outputs: The model's, in the shape of one request.
        classes: How many class names are known; with them, bare scores and raw boxes are recognised, too.
    """
    shapes = {tensor.name: tensor.shape for tensor in outputs}
    if set(shapes) == {"scores", "classes"} and shapes["scores"] == shapes["classes"] and is_row(shapes["scores"]):
        return CLASSIFY
    if len(outputs) != 1:
        return ""
    (tensor,) = outputs
    if selected(tensor):
        return DETECT
    if classes and is_row(tensor.shape) and tensor.shape[1] == classes:
        return CLASSIFY
    if classes and raw_boxes(tensor) and tensor.shape[1] == 4 + classes:
        return DETECT
    return ""


def selected(tensor: Tensor) -> bool:
    """Whether an output holds boxes as `SelectBoxes` leaves them: ``boxes`` [1, limit, 6]."""
    return tensor.name == "boxes" and len(tensor.shape) == 3 and tensor.shape[0] == 1 and tensor.shape[2] == 6


def raw_boxes(tensor: Tensor) -> bool:
    """Whether an output can be raw boxes, [1, 4 + classes, n]."""
    return len(tensor.shape) == 3 and tensor.shape[0] == 1 and tensor.shape[1] > 4


def is_row(shape: Sequence[int]) -> bool:
    """Whether a shape is [1, n]: one number per class."""
    return len(shape) == 2 and shape[0] == 1
