"""What is asked before the work on a request that may be in vain, and what is known of those that ask."""

import pytest

from cutwater.api.backend import Ask
from cutwater.api.porch import ASKERS, FEW, PROBE, SPELL, Coming, Porch
from cutwater.errors import CutwaterError, Refused
from cutwater.units import Seconds


class World:
    """A clock, and a line that takes so much time for each who is ahead."""

    def __init__(self, each: Seconds = 0.1) -> None:
        self.now = 100.0
        self.each = each
        self.asked: list[tuple[Ask, int]] = []
        self.turned_away: list[CutwaterError] = []
        self.turned_away_from: list[str] = []
        self.porch = Porch(self, lambda: self.now)

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        self.asked.append((ask, ahead))
        assert ask.timeout is not None
        return Refused("too late") if self.now - ask.since + self.each * (ahead + 1) > ask.timeout else None

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        self.turned_away.append(error)
        self.turned_away_from.append(ask.model)

    def coming(self, client: str = "a", model: str = "m") -> Coming:
        return self.porch.coming(model, client, "http").__enter__()

    def few(self, timeout: Seconds = 30.0) -> list[Coming]:
        """As many as are read without asking."""
        found = [self.coming() for _ in range(FEW)]
        found[0].wants(timeout, 0)
        return found


def test_few_are_read_without_asking() -> None:
    world = World()
    for coming in world.few(timeout=0.0):
        coming.look()
    assert world.asked == []


def test_more_are_read_only_if_their_client_would_wait_so_long() -> None:
    world = World()
    world.few(timeout=1.0)
    world.coming().look()
    patient = world.coming()
    patient.look()
    with pytest.raises(Refused):
        world.coming().look()
    assert [ahead for _, ahead in world.asked] == [FEW, FEW + 1, FEW + 2]
    assert {(ask.model, ask.client, ask.timeout, ask.feeds == {}) for ask, _ in world.asked} == {("m", "a", 1.0, True)}


def test_a_client_nobody_knows_is_read() -> None:
    world = World()
    world.few(timeout=0.0)
    world.coming("b").look()
    assert world.asked == []


def test_models_do_not_count_for_each_other() -> None:
    world = World()
    world.few(timeout=0.0)
    world.coming(model="other").look()
    assert world.porch.count("m") == FEW and world.porch.count("other") == 1


def test_the_most_patient_and_the_most_urgent_wish_of_a_client_counts() -> None:
    world = World()
    few = world.few(timeout=0.2)
    few[1].wants(3.0, 0)
    few[2].wants(0.1, 5)
    world.coming().look()
    assert [(ask.timeout, ask.priority) for ask, _ in world.asked] == [(3.0, 5)]


def test_wishes_are_forgotten() -> None:
    world = World()
    world.few(timeout=60.0)
    for _ in range(3):
        world.now += SPELL + 1
        late = world.coming()
        late.wants(0.5, 0)
    with pytest.raises(Refused):
        world.coming().look()
    assert world.asked[-1][0].timeout == 0.5


def test_who_is_in_the_line_or_has_gone_is_on_the_way_no_more() -> None:
    world = World()
    few = world.few()
    few[0].here()
    few[0].__exit__(None, None, None)
    few[1].__exit__(None, None, None)
    assert world.porch.count("m") == FEW - 2
    for coming in few[2:]:
        coming.here()
    assert world.porch.count("m") == 0


def test_what_is_over_when_it_has_been_read_is_not_begun_with() -> None:
    world = World()
    coming = world.coming()
    coming.wants(1.0, 0)
    assert coming.until == 101.0
    coming.check()
    world.now += 0.95
    with pytest.raises(Refused):
        coming.check()
    assert coming.since == 100.0


def test_who_is_refused_on_the_way_counts_and_who_is_refused_in_the_line_is_not_counted_twice() -> None:
    world, error = World(), Refused("too late")
    for end in (error, ValueError("bad input"), None):
        world.coming().__exit__(None, end, None)
    with pytest.raises(Refused), world.porch.coming("m", "a", "http") as coming:
        coming.here()
        raise error
    assert world.turned_away == [error]


def test_a_door_that_shows_nothing_is_closed_if_whoever_asked_lately_would_be_refused() -> None:
    world = World(each=1.0)
    assert world.porch.closed("http") is None  # nobody has asked
    with world.coming("a") as first:
        first.wants(0.5, 0)
    assert isinstance(error := world.porch.closed("http"), Refused)
    assert world.turned_away == [error]
    assert world.porch.closed("grpc") is None
    with world.coming("b", "other") as patient:
        patient.wants(5.0, 0)
    assert world.porch.closed("http") is None
    world.now += 2 * SPELL + 1
    with world.coming("a") as first:
        first.wants(0.5, 0)
    world.now += SPELL + 1
    with world.coming("a") as first:
        first.wants(0.5, 0)
    assert world.porch.closed("http") is not None


def test_those_nobody_has_read_count_for_all_who_ask_there() -> None:
    world = World(each=1.0)
    for model in ("left", "right"):
        with world.coming(model=model) as coming:
            coming.wants(0.5, 0)
    for _ in range(PROBE - 1):
        world.porch.closed("http")
    assert world.turned_away_from.count("left") in (PROBE // 2 - 1, PROBE // 2)
    assert world.turned_away_from.count("right") in (PROBE // 2 - 1, PROBE // 2)


def test_some_are_read_though_it_seems_to_be_in_vain() -> None:
    world = World(each=1.0)
    with world.coming() as first:
        first.wants(0.5, 0)
    read = [world.porch.closed("http") is None for _ in range(3 * PROBE)]
    assert sum(read) == 3 and len(world.turned_away) == 3 * (PROBE - 1)


def test_with_many_who_ask_all_are_read() -> None:
    world = World(each=1.0)
    for number in range(ASKERS + 1):
        with world.coming(f"client {number}") as coming:
            coming.wants(0.5, 0)
    assert world.porch.closed("http") is None
