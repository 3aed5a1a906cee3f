"""Leases and paces: who is alive, and who is slower than the fleet."""

from cutwater.engine.health import Leases, Paces
from cutwater.engine.steering import CoordinatorOptions
from cutwater.units import NodeId

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")


def test_a_lease_lasts_as_long_after_each_sign_of_life() -> None:
    leases: Leases[NodeId] = Leases(3.0)
    assert leases.hear(A, 0.0) and leases.hear(B, 0.5)
    assert not leases.hear(A, 2.0)
    assert leases.wake_at() == 3.0
    assert leases.expired(3.0) == []
    assert leases.expired(3.5) == [B]
    leases.validate()
    assert [*leases] == [A] and leases.expired(5.0) == [A]
    assert leases.wake_at() is None


def test_who_is_forgotten_does_not_expire_and_may_come_back() -> None:
    leases: Leases[NodeId] = Leases(3.0)
    leases.hear(A, 0.0)
    leases.forget(A)
    leases.hear(A, 1.0)
    leases.validate()
    assert leases.expired(3.5) == []
    assert leases.expired(4.0) == [A]


def review(paces: Paces, begin: int, ratios: dict[NodeId, float], seconds: int) -> list[tuple[int, NodeId, bool]]:
    changed = []
    for now in range(begin, begin + seconds):
        for node, ratio in ratios.items():
            paces.tell(node, ratio, now)
        changed += [(now, node, slow) for node, slow in paces.review(now)]
    return changed


def test_a_node_is_slow_only_when_it_has_looked_so_for_a_while_and_well_again_likewise() -> None:
    paces = Paces(CoordinatorOptions(slow_for=5.0))
    assert review(paces, 0, {A: 1.1, B: 1.0, C: 1.2}, 10) == []
    ((when, node, slow),) = review(paces, 10, {A: 1.1, B: 4.0, C: 1.2}, 10)
    assert (node, slow) == (B, True) and 15 <= when <= 17
    assert 3.0 < paces.slowdown(B) < 4.0 and paces.slowdown(A) == 1.0
    ((when, node, slow),) = review(paces, 20, {A: 1.1, B: 1.0, C: 1.2}, 20)
    assert (node, slow) == (B, False) and paces.slowdown(B) == 1.0


def test_a_short_hiccup_is_no_reason_for_anything() -> None:
    paces = Paces(CoordinatorOptions(slow_for=5.0))
    review(paces, 0, {A: 1.0, B: 1.0}, 10)
    assert review(paces, 10, {A: 1.0, B: 4.0}, 2) + review(paces, 12, {A: 1.0, B: 1.0}, 20) == []


def test_one_node_alone_is_compared_with_what_was_predicted() -> None:
    paces = Paces(CoordinatorOptions())
    ((_, node, slow),) = review(paces, 0, {A: 3.0}, 10)
    assert (node, slow) == (A, True) and paces.slowdown(A) == 3.0


def test_a_slow_node_that_runs_nothing_is_forgiven_in_the_end() -> None:
    paces = Paces(CoordinatorOptions(slow_memory=100.0))
    review(paces, 0, {A: 1.0, B: 4.0}, 10)
    assert paces.slowdown(B) > 3.0
    changed = review(paces, 10, {A: 1.0}, 100)
    assert changed == [(109, B, False)] and paces.slowdown(B) == 1.0
