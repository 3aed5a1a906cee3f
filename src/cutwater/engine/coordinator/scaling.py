"""Scaling: gives each deployment that follows its demand as many chains as it needs, and takes back what it does not.

Up at once, down only when fewer would have done for a while. A deployment that had to go up again soon after it had
gone down is held up for longer the next time, so that a demand that merely comes unevenly moves nothing. Where there
is no room for another chain, those that are served more amply give some of theirs: see `shares`.
"""

from collections.abc import Mapping
from math import ceil

from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.conduct import Conduct
from cutwater.engine.coordinator.demand import headroom
from cutwater.engine.coordinator.deployment import Deployment
from cutwater.engine.coordinator.planning import Planning
from cutwater.engine.coordinator.rollout import Epoch
from cutwater.engine.coordinator.shares import Claim, transfers
from cutwater.engine.coordinator.size import Size
from cutwater.engine.facts.deployments import Scaling
from cutwater.units import Seconds

LEAST_PATIENCE: Seconds = 0.05
"""What a request may wait, where its timeout is hardly more than it takes."""
KNOWN: Seconds = 10.0
"""A demand that has been followed for less is not known well enough to take anything away."""
LOADED = 0.5
"""Of the time. A worker that computes for less of it would be slower if it had more to do."""


class Scaler:
    """Looks at demands whenever a sample of them is complete."""

    def __init__(self, books: Books, conduct: Conduct, planning: Planning) -> None:
        self._books = books
        self._options = books.options
        self._conduct = conduct
        self._planning = planning

    def review(self, now: Seconds) -> None:
        """Act on all demands of which there is something new."""
        sampled = [d for d in self._books.deployments.values() if d.size is not None and d.size.demand.sample(now)]
        for deployment in sorted(sampled, key=lambda d: d.spec.model):
            scaling, size, live = deployment.spec.scaling, deployment.size, deployment.live
            if scaling is None or size is None or live is None or deployment.removed or deployment.parked:
                continue
            if scaling.idle and now >= deployment.used_at + scaling.idle and deployment.settled:
                self._park(deployment, scaling, now)
            else:
                self._decide(deployment, scaling, size, live, now)
                self._act(deployment, size, live, now)

    def _park(self, deployment: Deployment, scaling: Scaling, now: Seconds) -> None:
        deployment.parked = True
        self._conduct.take_down(deployment, "parked", f"unused for {scaling.idle:g} s", now)

    # How many

    def _decide(self, deployment: Deployment, scaling: Scaling, size: Size, live: Epoch, now: Seconds) -> None:
        """Want another number of chains where that is due."""
        self._see_growth(deployment, size, live, now)
        size.see(self._need(deployment, scaling, size, live), now, max(size.hold, 2.0 * size.takes))
        up = _bounded(size.need, scaling)
        down = _bounded(size.highest, scaling)
        if up > size.chains:
            self._learn(size, up, now)
            self._want(deployment, size, up, "scaled-up", now)
        elif down >= size.chains or now < size.changed_at + max(size.hold, 2.0 * size.takes):
            size.low_since = None
        elif size.low_since is None:
            size.low_since = now
        elif now >= size.low_since + size.brief:
            size.shrunk_at, size.shrunk_from, size.low_since = now, size.chains, None
            self._want(deployment, size, down, "scaled-down", now)

    def _learn(self, size: Size, up: int, now: Seconds) -> None:
        """Hold on for longer where what is needed now was given back too early."""
        if size.shrunk_at is None:
            return
        regretted = now < size.shrunk_at + 2.0 * size.hold and up <= size.shrunk_from
        longest = self._options.scale_hold * self._options.scale_hold_growth
        size.hold = min(2.0 * size.hold, longest) if regretted else max(size.hold / 2.0, self._options.scale_hold)
        size.shrunk_at = None

    def _need(self, deployment: Deployment, scaling: Scaling, size: Size, live: Epoch) -> float:
        """Chains that would do, now and for as long as another takes to be brought up."""
        demand = size.demand
        patience = max(deployment.spec.timeout - live.blueprint.latency, LEAST_PATIENCE)
        rate = demand.ahead(size.takes) + demand.standing / patience
        least = rate / (1.0 - self._options.scale_headroom)
        size.provided = max(least, rate + headroom(demand.dispersion, patience, scaling.target))
        size.each = _each(live)
        return size.provided / size.each

    def _see_growth(self, deployment: Deployment, size: Size, live: Epoch, now: Seconds) -> None:
        """Learn how long another chain takes."""
        asked, since = deployment.asked, size.growing
        if since is None:
            return
        if deployment.renew or deployment.rolling is not None or live.since > since:
            size.growing = None  # a whole new epoch takes longer than a chain
        elif (asked is None or asked.optional) and not live.lame:
            size.takes += 0.5 * (now - since - size.takes)
            size.growing = None

    def _want(self, deployment: Deployment, size: Size, wanted: int, kind: str, now: Seconds) -> None:
        asked = size.demand.level or 0.0
        why = f"{asked:.3g} requests/s asked, {size.provided:.3g} provided for, {size.each:.3g} each"
        self._books.tell(kind, deployment.spec.model, f"{size.chains} -> {wanted} chains: {why}")
        size.chains, size.why, size.changed_at = wanted, why, now
        self._books.touch(deployment)

    # Getting there

    def _act(self, deployment: Deployment, size: Size, live: Epoch, now: Seconds) -> None:
        """Come nearer to the number of chains that is wanted."""
        if self._books.settling:
            return
        have, asked, rolling = len(live.staying), deployment.asked, deployment.rolling
        if have < size.chains and deployment.grows and rolling is not None and rolling.voluntary:
            self._conduct.postpone(deployment, rolling, f"{size.chains - have} chains are missing", now)
        if have >= size.chains:
            size.short_since, size.awaits_room = None, False
            if have > size.chains:
                self._give(deployment, live, have - size.chains, now)
        elif (asked is None or asked.optional) and deployment.rolling is None and not deployment.renew:
            if deployment.trial is not None:
                self._conduct.end_trial(deployment)
            missing = size.chains - have
            if size.short_since is None:
                missing -= self._conduct.chains.keep(deployment, live, missing)
            if missing and self._may_ask(deployment, size, now):
                size.growing = now if size.growing is None else size.growing
                self._planning.ask_more(deployment, missing, size.why, now)
            elif missing and size.crowded:
                size.awaits_room |= self.make_room(deployment, missing, now)

    def _may_ask(self, deployment: Deployment, size: Size, now: Seconds) -> bool:
        """Whether there may be room for more, as far as is known."""
        if size.short_since is None:
            return True
        if self._freed() or (not size.awaits_room and self._promised(deployment)):
            return False
        if size.awaits_room or now >= size.short_since + self._options.scale_again:
            size.awaits_room = False
            return True
        return False

    def _freed(self) -> int:
        """Chains on their way out, whose room is not free yet."""
        return sum(d.parting for d in self._books.deployments.values())

    def _promised(self, deployment: Deployment) -> bool:
        """Whether what is being given back is for another than ``deployment``."""
        return any(
            d.size is not None and d.size.awaits_room and d.live is not None and not d.removed and not d.renew
            for d in self._books.deployments.values()
            if d is not deployment
        )

    def make_room(self, deployment: Deployment, missing: int, now: Seconds) -> bool:
        """Have those that are served more amply give chains back for ``deployment``. Whether it may count on any."""
        freed = self._freed()
        claims = [claim for each in self._books.deployments.values() if (claim := _claim_of(each, now)) is not None]
        if all(claim.model != deployment.spec.model for claim in claims):
            claims.append(Claim(deployment.spec.model, 0, 0, float(missing)))
        given = transfers(claims, deployment.spec.model, missing, freed)
        for model, count in sorted(given.items()):
            giver = self._books.deployments[model]
            scaling, size, live = giver.spec.scaling, giver.size, giver.live
            assert scaling is not None and size is not None and live is not None
            left = len(live.staying) - count
            self._books.tell("shared", model, f"gives {count} of {left + count} chains to {deployment.spec.model}")
            enough = max(_bounded(size.lately(now), scaling), left)
            if enough < size.chains:
                self._want(giver, size, enough, "scaled-down", now)
            size.short_since = now if left < size.chains else None
            self._give(giver, live, count, now)
        return bool(given) or (freed > 0 and not self._promised(deployment))

    def _give(self, deployment: Deployment, live: Epoch, count: int, now: Seconds) -> None:
        """First those that do not serve yet, then those that do least for their nodes, the newest of equals."""
        worth = {c: chain.plan.score.throughput / len(chain.posts) for c, chain in live.staying.items()}
        ranked = sorted(worth, key=lambda c: (live.whole(c), worth[c], -c))
        self._conduct.chains.give_back(deployment, live, ranked[:count], now)


def _bounded(need: float, scaling: Scaling) -> int:
    return min(max(ceil(need - 1e-6), scaling.least), scaling.most)


def _claim_of(deployment: Deployment, now: Seconds) -> Claim | None:
    """What a deployment has and needs; None where its chains cannot be counted on."""
    scaling, size, live = deployment.spec.scaling, deployment.size, deployment.live
    if scaling is None or size is None or live is None or deployment.removed or deployment.parked:
        return None
    have = len(live.staying)
    known = now >= size.began + KNOWN
    need = min(max(size.lately(now) if known else float(have), float(scaling.least)), float(scaling.most))
    return Claim(deployment.spec.model, have, scaling.least, need)


def _each(live: Epoch) -> float:
    """Requests per second that a chain does on average: as predicted, by what its workers were seen to take."""
    found = [
        chain.plan.score.throughput * _pace(live, number)
        for number, chain in live.staying.items()
        if chain.plan.score.throughput > 0
    ]
    return max(sum(found) / len(found), 1e-9) if found else 1.0


def _pace(live: Epoch, number: int) -> float:
    """How much faster than predicted the slowest stage of a chain is; 1 where nothing was computed of late.

    Faster counts only where it was measured under load.
    """
    predicted: dict[int, float] = {}
    measured: dict[int, float] = {}
    for worker in live.of(number):
        if worker.spare or worker.spec.seconds <= 0:
            continue
        planned, state = worker.spec.seconds, worker.state
        seconds = state.seconds if state is not None and state.seconds else planned
        if state is None or state.busy < LOADED:
            seconds = max(seconds, planned)
        predicted[worker.stage] = predicted.get(worker.stage, 0.0) + 1.0 / planned
        measured[worker.stage] = measured.get(worker.stage, 0.0) + 1.0 / seconds
    return _slowest(measured) / _slowest(predicted) if predicted else 1.0


def _slowest(rates: Mapping[int, float]) -> float:
    return min(rates.values())
