"""How often nodes beat, and when."""

import pytest

from cutwater.engine.facts.nodes import LEASE
from cutwater.services.node.node import until_next_lull


@pytest.mark.parametrize("now", [0.0, 0.1, 7.5, 7.74])
def test_idle_nodes_beat_at_whole_seconds(now: float) -> None:
    assert (now + until_next_lull(now)) % 1.0 == pytest.approx(0.0)


def test_a_beat_right_before_a_whole_second_counts_for_it_and_the_lease_is_long_enough() -> None:
    assert until_next_lull(7.9) == pytest.approx(1.1)
    assert all(until_next_lull(k / 100) < LEASE / 2 for k in range(100))
