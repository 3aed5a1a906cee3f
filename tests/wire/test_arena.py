"""Shared memory's bookkeeping: the lowest gap first, gaps grow together, nothing is given back twice."""

import random

import pytest

from cutwater.errors import FrameError
from cutwater.wire.arena import PAGE, Arena


def test_places_are_whole_pages_from_the_lowest_up() -> None:
    arena = Arena(4 * PAGE)
    assert [arena.take(1), arena.take(PAGE), arena.take(PAGE + 1)] == [0, PAGE, 2 * PAGE]
    assert arena.take(1) is None


def test_what_was_given_back_is_the_first_to_be_taken_again() -> None:
    arena = Arena(8 * PAGE)
    first, second = arena.take(PAGE), arena.take(PAGE)
    assert (first, second) == (0, PAGE)
    arena.give_back(0)
    assert arena.take(2 * PAGE) == 2 * PAGE
    assert arena.take(PAGE) == 0


def test_a_place_that_is_not_in_use_cannot_be_given_back() -> None:
    arena = Arena(4 * PAGE)
    arena.take(2 * PAGE)
    for place in (PAGE, 2 * PAGE, 2**63):
        with pytest.raises(FrameError, match=f"place {place} .* is not in use"):
            arena.give_back(place)
    arena.give_back(0)
    with pytest.raises(FrameError):
        arena.give_back(0)


def test_places_in_use_never_overlap_and_all_of_it_comes_back() -> None:
    chance = random.Random(7)
    arena, size = Arena(64 * PAGE), 64 * PAGE
    used: dict[int, int] = {}
    for _ in range(2000):
        if used and chance.random() < 0.5:
            place = chance.choice([*used])
            del used[place]
            arena.give_back(place)
            continue
        nbytes = chance.randrange(1, 12 * PAGE)
        if (place := arena.take(nbytes)) is not None:
            assert 0 <= place <= size - nbytes
            assert all(place + nbytes <= start or stop <= place for start, stop in used.items())
            used[place] = place + nbytes
    for place in used:
        arena.give_back(place)
    assert arena.take(size) == 0
