"""Leases and paces: who is alive, and who is slower than the fleet."""

from cutwater.engine.coordinator.health import Leases, Paces, Work
from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.units import NodeId

A, B, C, D, E = map(NodeId, "abcde")


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


def work(ratio: float, waited: float = 0.0, seconds: float = 0.01, served: int = 10) -> Work:
    """Ten requests of 10 ms, say: each takes ``ratio`` times as long, and waits so many times as long for a core."""
    predicted = served * seconds
    return Work(served, predicted, (ratio + waited) * predicted, waited * predicted)


def review(
    paces: Paces, begin: int, told: dict[NodeId, Work], seconds: int, hosts: dict[NodeId, str] | None = None
) -> list[tuple[int, NodeId, bool]]:
    changed = []
    for now in range(begin, begin + seconds):
        for node, done in told.items():
            paces.tell(node, (hosts or {}).get(node, "one"), done, now)
        changed += [(now, node, slow) for node, slow in paces.review(now)]
    return changed


def test_a_node_is_slow_only_when_it_has_looked_so_for_a_while_and_well_again_after_a_longer_one() -> None:
    paces = Paces(CoordinatorOptions(slow_for=5.0, well_for=20.0))
    assert review(paces, 0, {A: work(1.1), B: work(1.0), C: work(1.2)}, 10) == []
    ((when, node, slow),) = review(paces, 10, {A: work(1.1), B: work(4.0), C: work(1.2)}, 12)
    assert (node, slow) == (B, True) and 15 <= when <= 19
    assert 3.0 < paces.slowdown(B) < 4.0 and paces.slowdown(A) == 1.0
    ((when, node, slow),) = review(paces, 22, {A: work(1.1), B: work(1.0), C: work(1.2)}, 50)
    assert (node, slow) == (B, False) and 42 <= when <= 55 and paces.slowdown(B) == 1.0


def test_a_short_hiccup_is_no_reason_for_anything() -> None:
    paces = Paces(CoordinatorOptions(slow_for=5.0))
    review(paces, 0, {A: work(1.0), B: work(1.0)}, 10)
    assert (
        review(paces, 10, {A: work(1.0), B: work(4.0)}, 2) + review(paces, 12, {A: work(1.0), B: work(1.0)}, 20) == []
    )


def test_one_slow_request_is_no_evidence_however_long_nothing_follows() -> None:
    paces = Paces(CoordinatorOptions(evidence=5))
    review(paces, 0, {A: work(1.0)}, 10)
    paces.tell(A, "one", work(50.0, served=1), 10.0)
    assert [change for now in range(10, 100) for change in paces.review(float(now))] == []


def test_work_counts_by_the_time_it_takes() -> None:
    paces = Paces(CoordinatorOptions(slow_for=5.0))
    # Many short batches that are late beside one long one that is not: together 9 % longer than predicted.
    done = work(4.0, seconds=3e-3, served=1) + work(1.0, seconds=0.1, served=1)
    assert review(paces, 0, {A: done}, 60) == []


def test_one_node_alone_is_compared_with_what_was_predicted() -> None:
    paces = Paces(CoordinatorOptions())
    ((_, node, slow),) = review(paces, 0, {A: work(3.0)}, 10)
    assert (node, slow) == (A, True) and round(paces.slowdown(A), 6) == 3.0


def test_what_is_fixed_makes_no_small_stage_slow() -> None:
    small = Work(served=1, predicted=195e-6, spent=591e-6, waited=0.0)
    assert small.beyond(1e-3) is None
    hopeless = Work(served=1, predicted=195e-6, spent=6e-3, waited=0.0).beyond(1e-3)
    assert hopeless is not None and round(hopeless.spent, 6) == 5e-3
    large = Work(served=10, predicted=0.1, spent=0.41, waited=0.0).beyond(1e-3)
    assert large is not None and round(large.spent, 6) == 0.4
    faster = Work(served=10, predicted=0.1, spent=0.05, waited=0.0)
    assert faster.beyond(1e-3) == faster


def test_load_on_a_host_that_all_share_makes_nobody_slow() -> None:
    paces = Paces(CoordinatorOptions())
    # The busier a worker is, the longer it waits.
    crowded = {A: work(1.1, waited=3.0), B: work(1.0, waited=0.5), C: work(1.2, waited=5.0)}
    assert review(paces, 0, crowded, 120) == []


def test_a_node_that_is_held_back_is_slow_on_a_crowded_host_too() -> None:
    paces = Paces(CoordinatorOptions())
    crowded = {A: work(1.1, waited=3.0), B: work(4.0, waited=2.0), C: work(1.2, waited=5.0)}
    ((_, node, slow),) = review(paces, 0, crowded, 20)
    assert (node, slow) == (B, True)


def test_a_host_that_is_more_crowded_than_the_others_makes_all_its_nodes_slow() -> None:
    paces = Paces(CoordinatorOptions())
    told = {A: work(1.0, waited=3.0), B: work(1.0, waited=2.5), C: work(1.0), D: work(1.0), E: work(1.0)}
    changed = review(paces, 0, told, 20, {A: "full", B: "full", C: "idle", D: "idle", E: "idle"})
    assert sorted((node, slow) for _, node, slow in changed) == [(A, True), (B, True)]


def test_a_slow_node_that_runs_nothing_is_forgiven_in_the_end() -> None:
    paces = Paces(CoordinatorOptions(slow_memory=100.0))
    review(paces, 0, {A: work(1.0), B: work(4.0)}, 10)
    assert paces.slowdown(B) > 3.0
    changed = review(paces, 10, {A: work(1.0)}, 100)
    assert changed == [(109, B, False)] and paces.slowdown(B) == 1.0


def test_a_slow_node_that_is_left_with_a_small_stage_is_not_thought_well_for_it() -> None:
    small = Work(served=10, predicted=2e-3, spent=6e-3, waited=0.0)
    paces = Paces(CoordinatorOptions(slow_memory=100.0))
    review(paces, 0, {A: work(1.0), B: work(4.0)}, 20)
    assert small.beyond(1e-3) is None
    assert review(paces, 20, {A: work(1.0)}, 90) == []
