"""Shares: which deployments give chains back when another needs more, and there is no room for them beside all others.

By need: a chain goes from whoever is the most amply served to whoever is the least, as long as the giver is still
served clearly better after that than the receiver was before. So two never give each other the same chain in turns, and
where the demand of all is more than there is, all get the same share of what they need.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

MARGIN = 1.1
"""So many times better the giver must still be served: needs sway, and a chain that moves serves nobody meanwhile."""


class Claim(msgspec.Struct, frozen=True):
    """One deployment's."""

    model: str
    have: int
    """Chains."""
    least: int
    """It never has fewer."""
    need: float
    """So many would do."""

    def served(self, have: int) -> float:
        """How amply it would be served by so many chains: 1 is just enough."""
        return have / max(self.need, 1e-9)


def transfers(claims: Iterable[Claim], receiver: str, missing: int, coming: int = 0) -> Counter[str]:
    """How many chains each of the others gives, so that ``receiver`` gets up to ``missing``; of equals by name.

    ``coming``: so many of them are on their way already.
    """
    known = {claim.model: claim for claim in sorted(claims, key=lambda claim: claim.model)}
    have = {model: claim.have for model, claim in known.items()}
    have[receiver] += coming
    given: Counter[str] = Counter()
    for _ in range(missing - coming):
        able = [m for m, claim in known.items() if m != receiver and have[m] > claim.least]
        if not able:
            break
        giver = max(able, key=lambda m: known[m].served(have[m] - 1))
        if known[giver].served(have[giver] - 1) <= MARGIN * known[receiver].served(have[receiver]):
            break
        have[giver] -= 1
        have[receiver] += 1
        given[giver] += 1
    return given
