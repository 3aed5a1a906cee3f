"""Twenty labelled photographs from the ImageNet validation set, to see whether answers are right."""

from dataclasses import dataclass
from pathlib import Path

from cutwater.zoo.packages import Package, fetch_files

PACKAGE = Package("foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb")
"""Carries them as ``imagenet_NUMBER_CLASS.jpg``, 512 x 512."""


@dataclass(frozen=True)
class Photograph:
    """A picture and what it shows."""

    path: Path
    label: int
    """ImageNet class index."""


def photographs(cache: Path) -> list[Photograph]:
    """All twenty, in the order of their numbers. Raises BadFile where the package cannot be fetched."""
    paths = fetch_files(PACKAGE, cache, "foolbox/data/imagenet_*.jpg")
    return [Photograph(path, int(path.stem.rpartition("_")[2])) for path in paths]
