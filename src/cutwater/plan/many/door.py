"""Door: how long an answer may be predicted to take for its request to be let in.

A door that knew every queue to the end of it would let in whoever makes it. The engine's counts the requests before
one, takes the usual gap between answers for each, and what waiting comes to with caution
(`cutwater.engine.gateway.flow`). So of the time that is given beyond what a request takes alone it uses a part, in
whole gaps; where all goes by the clock that is one number per model, and that number is all a queue needs to know.
"""

from dataclasses import dataclass
from math import floor

from cutwater.units import Seconds

SAME: Seconds = 1e-9
"""Times no further apart count as the same, so that no decision hangs on how sums were rounded."""


@dataclass(frozen=True, slots=True)
class Door:
    """A way to decide who comes in."""

    caution: float
    """Waiting is expected to take so many times what it should."""
    counts: bool
    """Whether waiting is reckoned in whole gaps between answers."""
    margin: float
    """So many gaps per stage beyond the first an answer is expected later, for what is learned when a burst catches up
    with itself at a pipeline's slowest stage. 0.5 was fitted: `tests/plan/many` says how well."""
    turns: float
    """Where models share a group their doors take turns, which no door knows beforehand: waiting takes so many times
    longer. 1.1 was fitted, for two models to eight."""
    blind: float
    """Where slower models share a node, an answer is expected later by so much of what they take longer: it is not
    known how far the node is with them. 0.3 was fitted, which is right to a few points of attainment."""

    def allowed(
        self,
        slo: Seconds,
        alone: Seconds,
        gap: Seconds,
        stages: int,
        *,
        hops: Seconds = 0.0,
        longer: Seconds = 0.0,
        shared: bool = False,
    ) -> Seconds:
        """The longest an answer may take.

        Args:
            slo: When it is worth nothing any more.
            alone: What it takes where nobody waits; it may always take that, if it is in time.
            gap: Between two answers when there is always somebody to launch.
            stages: Of the pipeline.
            hops: Of ``alone`` what it is on its way: whoever came just before it is before it for so long as well.
            longer: So much longer than its own slowest stage the slowest one takes that is on a node of it as well.
            shared: Other models run on its nodes.
        """
        margin = self.margin * gap * (stages - 1) + self.blind * longer
        limit = alone + (slo - margin - alone) / (self.caution * (self.turns if shared else 1.0))
        if self.counts and gap > 0.0:
            limit = gap * floor(limit / gap + SAME) + hops
        return min(max(limit, alone), slo) + SAME


ENGINE = Door(caution=1.0625, counts=True, margin=0.5, turns=1.1, blind=0.3)
"""As `cutwater.engine.gateway.door` decides."""
PRECISE = Door(caution=1.0, counts=False, margin=0.0, turns=1.0, blind=0.0)
"""Whoever makes it comes in."""
