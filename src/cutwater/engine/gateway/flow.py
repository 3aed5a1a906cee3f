"""Flow: how fast answers come, learned from those that have come, and what follows for a request that asks now.

While there is always somebody to launch, answers come one `gap` after the other, however the work is spread over
stages, replicas and batches. So a request with n before it, waiting or under way, is answered after n + 1 gaps, and
never before the time it takes when it waits nowhere, the `base`; base / gap requests under way keep all stages busy
(Little, "A proof for the queuing formula L = λW", Operations Research 9(3), 1961). To predict from what was measured,
and to refuse at once what will be too late, follows Clockwork (Gujarati et al., "Serving DNNs like Clockwork",
OSDI 2020).
"""

from collections.abc import Sequence
from math import inf

from cutwater.engine.gateway.record import Record
from cutwater.units import Seconds
from cutwater.wire.message import Mark

MEMORY = 32
"""Gaps that count: of the newest a share of one in so many, and of fewer as long as fewer were seen."""
TRUSTED = 8
"""Gaps that must have been seen before anybody is refused for what they say."""
OUTLIER = 8.0
"""A gap counts for so many times the usual one at most, of batches for as many times that: what stood still for once
is not slow."""
LEAST = 0.5
"""Of the usual gap, that it is not below after the newest."""
WEIGHT = 0.125
"""Of the newest request in the mean of what one takes that waits nowhere."""
CAUTION = 1.0625
"""Waiting is expected to take so many times what it should: others may pass, and some fly again. What comes late all
the same moves the margin."""
RISK = 0.15
"""Of the requests that are launched with as much time as predicted, so many may be late."""
STEP = 0.2
"""How much of a gap the margin moves for each that is late, and for several that are not."""
SPARE = 1.5
"""Times as many may be under way as keep all stages busy: they do not take equally long each time."""
SHARE = 1 / 3
"""So much of the shortest time that clients give may pass between launch and answer, if that is more: those under way
can be neither passed by those who are more urgent nor sent home early."""
EASE = 1 / 256
"""How fast the shortest time is forgotten, per request that gives more."""


class Flow:
    """Changed only by the `Gateway`."""

    __slots__ = (
        "_company", "_full", "_seen", "_since", "base", "batch", "gap", "known", "margin", "most", "shortest",
    )  # fmt: skip

    def __init__(self) -> None:
        self.gap: Seconds = 0.0
        """Between two answers where there is always enough to do; 0: nobody knows."""
        self.base: Seconds = 0.0
        """From launch to answer of a request that waits nowhere; 0: nobody knows."""
        self.margin: Seconds = 0.0
        """How much later than expected an answer may come; all but the share `RISK` do not."""
        self.most = inf
        """How many under way are enough."""
        self.shortest: Seconds = inf
        """The least time that clients have given of late, of those that gave enough."""
        self.batch = 1
        """Most requests that a worker computes together; see `take`."""
        self.known = False
        """Whether anything can be predicted."""
        self._seen = 0
        """Gaps that `gap` is made of, as far as they count."""
        self._company = 1.0
        """How many requests workers computed together of late, on average over the stages."""
        self._full = False
        """Whether somebody waited when the newest answer came, so that it was followed by another launch."""
        self._since: Seconds = 0.0
        """From when on the next gap counts: the newest answer, or a launch where nobody was flying."""

    def take(self, batch: int) -> None:
        """Workers compute up to so many requests together from now on."""
        self.batch = batch
        self._company = min(self._company, float(batch))

    def wait(self, before: int, now: Seconds, beyond: Seconds = 0.0) -> Seconds:
        """Predicted time until a request is answered that has so many ``before`` it; 0 where nothing is known.

        ``beyond``: how much longer these take, because of what other models have on their nodes.
        """
        if not self.known:
            return 0.0
        gap, base = self.gap, self.base
        if self._full and (silence := now - self._since - gap - beyond) > 0.0:
            gap += silence / MEMORY
        queued = (before + 1) * gap + beyond - base
        return (base + CAUTION * queued if queued > 0.0 else base) + self.margin

    def soon(self, flying: int, beyond: Seconds = 0.0) -> Seconds:
        """The same of one that is launched now, while so many others are ``flying``."""
        queued = (flying + 1) * self.gap + beyond
        return (queued if queued > self.base else self.base) + self.margin

    def accepted(self, timeout: Seconds) -> None:
        """A client gives so much time."""
        if self.base * CAUTION <= timeout < self.shortest:
            self.shortest = timeout
            if self.known:
                self._fit()
        elif self.shortest < timeout < inf:
            self.shortest += EASE * (timeout - self.shortest)

    def launched(self, now: Seconds) -> None:
        """A request flies where none did."""
        self._since = now

    def answered(
        self, record: Record, trail: Sequence[Mark], waiting: bool, now: Seconds, passed: Seconds = 0.0
    ) -> None:
        """A request has come back; ``waiting``: others still wait to fly.

        ``passed``: of the time since the one before it, how long the nodes computed for other models.
        """
        took = alone = now - record.launched
        for mark in trail:
            alone += mark.received - mark.started + mark.finished - mark.sent
        if alone < 0.0:
            alone = 0.0
        self.base += WEIGHT * (alone - self.base) if self.base else alone
        if self.batch > 1 and trail:
            self._company += WEIGHT * (sum([mark.batch for mark in trail]) / len(trail) - self._company)
        gap = self.gap
        if waiting and self._full:
            newest = now - self._since - passed
            most = OUTLIER * self._company * gap
            if self.known and newest > most:
                newest = most
            if self._seen < MEMORY:
                self._seen += 1
                self.known = self._seen >= TRUSTED
            fresh = gap + (newest - gap) / self._seen
            # When others were done is not known to the instant, and no reason to believe in no time at all.
            self.gap = fresh if newest >= 0.0 else max(fresh, LEAST * gap)
        elif gap:
            # Those that were before it have come as well since then: it is at least that fast.
            at_most = took / (record.before or 1)
            if at_most < gap:
                self.gap = gap + WEIGHT * (at_most - gap)
        self._full, self._since = waiting, now
        if self.known:
            self._judge(record, took)
            self._fit()

    def missed(self, record: Record, now: Seconds) -> None:
        """The deadline of a request has come while it was under way."""
        if self.known:
            self._judge(record, now - record.launched, late=True)

    def _judge(self, record: Record, took: Seconds, *, late: bool = False) -> None:
        """Move the margin, so that it comes to lie where as many are late as may be.

        A quantile is found by steps in proportion to its two shares (Robbins and Monro, "A stochastic approximation
        method", Annals of Mathematical Statistics 22(3), 1951). Who is late was launched with more time than that, so
        it does not matter how late; who had less when it was launched says nothing.
        """
        if took > self.soon(record.before, record.beyond):
            self.margin += STEP * (1.0 - RISK) * self.gap
        elif self.margin and not late:
            self.margin = max(self.margin - STEP * RISK * self.gap, 0.0)

    def change(self, before: float, after: float) -> None:
        """The ways are others; ``before`` and ``after``: requests per second that their workers take; 0: not known."""
        self._full = False
        if not after:
            self._seen, self.known, self.most = 0, False, inf
            return
        if self.known:
            self.gap *= before / after if before else 1.0
        else:
            self.gap = 1.0 / after
        self._seen, self.known = TRUSTED, True
        self._fit()

    def _fit(self) -> None:
        if self.base and self.gap:
            # What is under way now keeps the stages busy with batches as they are now; full ones need more.
            enough, allowed = SPARE * self.base * self.batch / self._company, SHARE * self.shortest
            self.most = (enough if enough > allowed else allowed) / self.gap + 1.0
