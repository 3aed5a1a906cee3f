"""How long a node is left out on which workers fail."""

from cutwater.engine.coordinator.steering import CoordinatorOptions
from cutwater.engine.coordinator.unfit import Unfit
from cutwater.units import NodeId

A, B = NodeId("a"), NodeId("b")


def unfit() -> Unfit:
    return Unfit(CoordinatorOptions(unfit_for=10.0, unfit_limit=35.0, unfit_memory=60.0))


def test_who_fails_again_soon_is_left_out_for_twice_as_long_and_not_for_ever() -> None:
    made, now, lengths = unfit(), 0.0, []
    for _ in range(4):
        made.add(A, now)
        (end,) = made.ends()
        lengths.append(end - now)
        now = end + 5.0
        assert made.forgive(end) == [A]
    assert lengths == [10.0, 20.0, 35.0, 35.0]
    made.add(A, now + 60.0)
    assert list(made.ends()) == [now + 70.0], "what was long ago is forgotten"


def test_what_fails_while_it_is_left_out_is_no_news() -> None:
    made = unfit()
    made.add(A, 0.0)
    made.add(A, 9.0)
    assert A in made and list(made.ends()) == [10.0]
    assert made.forgive(9.9) == []
    assert made.forgive(10.0) == [A] and A not in made


def test_where_all_have_failed_none_is_left_out() -> None:
    made = unfit()
    assert made.among([A, B]) == made.among([]) == frozenset()
    made.add(A, 0.0)
    assert made.among([A, B]) == {A}
    assert made.among([A]) == frozenset(), "nobody else may run it"
    made.add(B, 1.0)
    assert made.among([A, B]) == frozenset()


def test_who_is_pardoned_may_run_it_at_once_and_is_left_out_for_longer_if_it_fails_again() -> None:
    made = unfit()
    made.add(A, 0.0)
    assert made
    made.pardon()
    assert not made and made.among([A, B]) == frozenset()
    made.add(A, 1.0)
    assert list(made.ends()) == [21.0]
