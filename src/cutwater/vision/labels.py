"""Names of the classes that networks answer with numbers."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

IMAGENET = "imagenet"
COCO = "coco"


@cache
def labels(which: str) -> tuple[str, ...]:
    """Class names by index: `IMAGENET` (1000) or `COCO` (80). Raises KeyError for any other list."""
    if which not in (IMAGENET, COCO):
        raise KeyError(which)
    lines = files(__package__).joinpath(f"{which}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def name_of(names: Sequence[str], label: int) -> str:
    """What a class is called: its name, or "class 17" where there is none."""
    return names[label] if 0 <= label < len(names) else f"class {label}"
