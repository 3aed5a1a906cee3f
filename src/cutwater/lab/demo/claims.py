"""What must hold of a run for it to count as passed."""

from typing import NamedTuple

from cutwater.lab.demo.exam import Verdict
from cutwater.lab.demo.run import Played
from cutwater.lab.demo.scene import Streamed
from cutwater.units import Seconds, format_seconds


class Claim(NamedTuple):
    """Something that must be so."""

    what: str
    holds: bool
    seen: str
    """The figures it was judged by."""


def claims(played: Played) -> list[Claim]:
    """All of them."""
    streamed, verdicts = played.streamed, played.exam.verdicts.values()
    lost = streamed.asked - len(streamed.answers) - len(streamed.failures)
    judged, equal = sum(each.asked for each in verdicts), sum(each.equal for each in verdicts)
    right, whole = sum(each.right for each in verdicts), sum(_whole_is_right(each) * each.asked for each in verdicts)
    first = streamed.failures[0] if streamed.failures else None
    return [
        Claim(
            "every request is answered",
            len(streamed.answers) == streamed.asked,
            f"{len(streamed.answers)} of {streamed.asked}, {lost} lost, {len(streamed.failures)} with an error"
            + (f", the first one {first.kind}: {first.message}" if first else ""),
        ),
        Claim("none is answered twice", streamed.repeated == 0, f"{streamed.repeated} duplicated"),
        Claim(
            "every answer is the uncut model's",
            judged == equal == streamed.asked,
            f"{equal} of {judged}, deviation at most {max(each.deviation for each in verdicts):.1e}",
        ),
        Claim(
            "the pictures are named right as often as by the uncut model",
            right == whole,
            f"{right} of {judged} answers right at top-1, {whole} by the uncut model",
        ),
        *_recovery(streamed),
        Claim(
            "nothing is left running",
            not played.left and not played.killed_at_end,
            "; ".join([*played.left, *(f"{each} had to be killed" for each in played.killed_at_end)])
            or f"{len(streamed.known)} processes are gone, no socket is bound, no port listens",
        ),
    ]


def _recovery(streamed: Streamed) -> list[Claim]:
    after, survivors = streamed.after, streamed.survivors
    return [
        Claim(
            "the cluster notices that the node is gone", streamed.missed is not None, _since(streamed, streamed.missed)
        ),
        Claim(
            "the survivors are planned anew and switched to",
            streamed.switched is not None and streamed.victim not in survivors,
            f"{', '.join(survivors) or '-'}, {_since(streamed, streamed.switched)}",
        ),
        Claim(
            "they answer by their new plan",
            after is not None and after.answered > 0,
            "-" if after is None else f"{after.answered} answers, {after.throughput:.4g}/s",
        ),
    ]


def _since(streamed: Streamed, moment: Seconds | None) -> str:
    return "never" if moment is None else f"{format_seconds(moment - streamed.killed)} after the kill"


def _whole_is_right(verdict: Verdict) -> bool:
    return verdict.whole.label == verdict.photograph.label
