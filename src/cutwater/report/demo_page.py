"""What the demonstration adds to a trial's page: every picture with what the stages said about it."""

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from cutwater.lab.demo import Verdict
from cutwater.report.page import Page, Thumbnail
from cutwater.vision.labels import IMAGENET, labels

HEIGHT = 112
"""Pixels of a picture on the page, enough for screens of twice the density."""
VERDICT_HEADERS = ("picture", "shows", "the stages say", "probability", "right", "as the uncut model", "deviation")


def verdict_rows(verdicts: Iterable[Verdict]) -> list[tuple[object, ...]]:
    """What `VERDICT_HEADERS` says, per picture."""
    names = labels(IMAGENET)
    return [
        (
            verdict.photograph.path.name,
            names[verdict.photograph.label],
            names[verdict.split.label],
            f"{verdict.split.probability:.0%}",
            verdict.right,
            verdict.equal,
            f"{verdict.deviation:.1e}",
        )
        for verdict in verdicts
    ]


def add_verdicts(page: Page, verdicts: Iterable[Verdict]) -> None:
    """A section with one row per picture."""
    judged = list(verdicts)
    right, equal = sum(verdict.right for verdict in judged), sum(verdict.equal for verdict in judged)
    asked = sum(verdict.asked for verdict in judged)
    page.heading(
        f"{right} of {len(judged)} pictures named right, {equal} of {len(judged)} as by the uncut model",
        f"Each picture went through the stages about {asked // max(len(judged), 1)} times; "
        "the deviation is the largest of all times, relative to the largest score.",
    )
    rows = [
        (_thumbnail(verdict.photograph.path), *row[1:])
        for verdict, row in zip(judged, verdict_rows(judged), strict=True)
    ]
    page.table(VERDICT_HEADERS, rows)


def _thumbnail(path: Path) -> Thumbnail:
    stream = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((HEIGHT, HEIGHT))
        picture.save(stream, "JPEG", quality=85)
    return Thumbnail(stream.getvalue(), path.name)
