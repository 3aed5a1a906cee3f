"""The page about the demonstration: what held, answers per second over the kill, both plans, and every picture."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from cutwater.cut.lattice import chain_cuts
from cutwater.lab.demo.claims import Claim
from cutwater.lab.demo.exam import Exam, Verdict
from cutwater.lab.demo.run import NODES, Played
from cutwater.lab.demo.scene import Streamed
from cutwater.lab.trial import Trial
from cutwater.report.chain import draw_chain
from cutwater.report.page import Page, Thumbnail
from cutwater.report.svg import stage_colour
from cutwater.report.tables import (
    HOP_HEADERS,
    STAGE_HEADERS,
    WHOLE_HEADERS,
    hop_rows,
    plan_summary,
    stage_rows,
    whole_rows,
)
from cutwater.report.throughput import Level, Moment, Series, draw_throughput
from cutwater.report.timeline import draw_timeline
from cutwater.services.workers.stages import plan_cuts
from cutwater.units import Seconds, format_seconds
from cutwater.vision.labels import IMAGENET, labels

HEIGHT = 112
"""Pixels of a picture on the page, enough for screens of twice the density."""
VERDICT_HEADERS = (
    "picture", "shows", "the cluster says", "probability", "asked", "degraded", "right", "as uncut", "deviation",
)  # fmt: skip


def demo_page(played: Played, held: Sequence[Claim]) -> Page:
    """The page, complete."""
    exam, streamed = played.exam, played.streamed
    subtitle = (
        f"{exam.graph.name} in {len(streamed.before.plan.stages)} stages on {NODES} nodes of one cluster. "
        f"{streamed.asked} requests streamed through it; in their middle {streamed.victim} was killed with SIGKILL."
    )
    title = "A node killed, no answer lost" if all(claim.holds for claim in held) else "Not everything held"
    page = Page(title, subtitle)
    page.figures(_figures(streamed))
    page.heading("Answers per second", f"Each bar is a quarter of a second. {disturbance(streamed)}")
    page.picture(throughput_picture(streamed))
    page.heading("What had to hold")
    page.table(("", "holds", "seen"), [(claim.what, claim.holds, claim.seen) for claim in held])
    _add_plan(page, exam, streamed.before, "Before the kill")
    if streamed.after is not None:
        _add_plan(page, exam, streamed.after, f"After it, without {streamed.victim}")
    _add_verdicts(page, exam.verdicts.values())
    return page


def disturbance(streamed: Streamed) -> str:
    """How far predicted and measured can be compared: one sentence."""
    before, after = streamed.taken
    return (
        f"Other processes took {before:.0%} of this machine's cores before the kill and {after:.0%} after it, of which "
        "the predictions know nothing."
    )


def throughput_picture(streamed: Streamed) -> str:
    """Answers per second over the kill, as an SVG document."""
    began = streamed.began
    happened = [(streamed.killed, f"{streamed.victim} is killed")]
    silence = streamed.silence
    if silence[1] - silence[0] > 0.1:
        first = next(each for each in streamed.answers if each.came >= silence[1])
        by = "given by the gateway itself" if first.outcome.degraded else "given by the nodes"
        happened.append((silence[1], f"answers flow again, {by}"))
    happened += [
        (at, what)
        for at, what in (
            (streamed.missed, "the coordinator misses the node: its lease has run out"),
            (streamed.planned, "the survivors have a plan, and their workers start"),
            (streamed.switched, "the gateway switches to it"),
        )
        if at is not None
    ]
    moments = [
        Moment(at - began, what + (f", {at - streamed.killed:.2f} s later" if at > streamed.killed else ""))
        for at, what in sorted(happened)
    ]
    end = streamed.ended - began
    levels = [Level(0.0, streamed.killed - began, streamed.before.plan.score.throughput)]
    if streamed.after is not None and streamed.switched is not None:
        levels.append(Level(streamed.switched - began, end, streamed.after.plan.score.throughput))
    return draw_throughput(_series(streamed), levels, moments, end)


def _series(streamed: Streamed) -> list[Series]:
    switched = streamed.switched if streamed.switched is not None else float("inf")
    kinds: dict[str, list[Seconds]] = {"before": [], "degraded": [], "after": []}
    for answer in streamed.answers:
        kind = "degraded" if answer.outcome.degraded else "before" if answer.came < switched else "after"
        kinds[kind].append(answer.came - streamed.began)
    return [
        Series(f"{len(streamed.before.plan.stages)} stages", stage_colour(0), kinds["before"]),
        Series("the gateway itself", stage_colour(1), kinds["degraded"]),
        Series(f"{len(set(streamed.survivors))} survivors", stage_colour(2), kinds["after"]),
    ]


def _figures(streamed: Streamed) -> list[tuple[str, str, str]]:
    before, after, tally = streamed.before, streamed.after, streamed.tally
    silence = streamed.silence
    lost = streamed.asked - len(streamed.answers) - len(streamed.failures)
    figures = [
        (f"{len(streamed.answers)}", f"of {streamed.asked} answered", f"{lost} lost, {streamed.repeated} duplicated"),
        (format_seconds(silence[1] - silence[0]), "longest silence", "between two answers after the kill"),
        (
            f"{streamed.degraded}",
            "answered by the gateway itself",
            f"{tally.retried if tally is not None else '?'} retried on another way",
        ),
        (_rate(before), "before the kill", f"predicted {before.plan.score.throughput:.4g}/s"),
    ]
    if streamed.switched is not None:
        figures.append(
            (format_seconds(streamed.switched - streamed.killed), "until the survivors' plan", "from the kill")
        )
    if after is not None:
        figures.append((_rate(after), "by the survivors", f"predicted {after.plan.score.throughput:.4g}/s"))
    return figures


def _rate(trial: Trial) -> str:
    return f"{trial.throughput:.4g}/s"


def _add_plan(page: Page, exam: Exam, trial: Trial, title: str) -> None:
    """Where the model is cut, what was predicted and measured, and requests on their way."""
    plan = trial.plan
    places = [", ".join(stage.nodes) for stage in plan.stages]
    page.heading(title, plan_summary(plan))
    page.picture(draw_chain(exam.graph, chain_cuts(exam.lattice), plan_cuts(exam.lattice, plan)[1:-1], places))
    page.table(WHOLE_HEADERS, whole_rows(trial))
    page.table(STAGE_HEADERS, stage_rows(trial))
    page.table(HOP_HEADERS, hop_rows(trial))
    page.paragraph(
        "Boxes compute. The line below them: requests that wait for their turn, the stronger the more of them."
    )
    page.picture(draw_timeline(trial.trails, [f"{k + 1} {place}" for k, place in enumerate(places)]))


def verdict_rows(verdicts: Iterable[Verdict]) -> list[tuple[object, ...]]:
    """What `VERDICT_HEADERS` says, per picture."""
    names = labels(IMAGENET)
    return [
        (
            verdict.photograph.path.name,
            names[verdict.photograph.label],
            names[verdict.said.label],
            f"{verdict.said.probability:.0%}",
            verdict.asked,
            verdict.degraded,
            verdict.right == verdict.asked > 0,
            verdict.equal == verdict.asked > 0,
            f"{verdict.deviation:.1e}",
        )
        for verdict in verdicts
    ]


def _add_verdicts(page: Page, verdicts: Iterable[Verdict]) -> None:
    """A section with one row per picture."""
    judged = list(verdicts)
    right = sum(verdict.right == verdict.asked for verdict in judged)
    equal = sum(verdict.equal == verdict.asked for verdict in judged)
    page.heading(
        f"{right} of {len(judged)} pictures named right, {equal} of {len(judged)} as by the uncut model",
        "Every answer was compared; the deviation is the largest of all times, relative to the largest score.",
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
