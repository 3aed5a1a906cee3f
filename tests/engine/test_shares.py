"""Who gives chains back when there are too few for all."""

from random import Random

from cutwater.engine.coordinator.shares import Claim, transfers


def test_whoever_has_more_than_it_needs_gives_that_first():
    claims = [Claim("a", 8, 1, 2.0), Claim("b", 2, 1, 8.0)]
    assert transfers(claims, "b", 6) == {"a": 6}


def test_where_all_need_more_than_there_is_all_get_the_same_share():
    claims = [Claim("a", 8, 1, 10.0), Claim("b", 2, 1, 10.0)]
    assert transfers(claims, "b", 8) == {"a": 3}


def test_nobody_gives_what_it_never_goes_without():
    claims = [Claim("a", 3, 3, 0.1), Claim("b", 1, 1, 9.0), Claim("c", 2, 1, 0.1)]
    assert transfers(claims, "b", 5) == {"c": 1}


def test_what_is_on_its_way_already_is_not_taken_again():
    claims = [Claim("a", 6, 1, 2.0), Claim("b", 2, 1, 8.0)]
    assert transfers(claims, "b", 6, coming=4) == {"a": 2}
    assert transfers(claims, "b", 6, coming=6) == {}


def test_nothing_moves_for_a_little():
    assert transfers([Claim("a", 8, 1, 6.9), Claim("b", 2, 1, 2.0)], "b", 1) == {}
    assert transfers([Claim("a", 8, 1, 6.3), Claim("b", 2, 1, 2.0)], "b", 1) == {"a": 1}


def test_of_equals_the_first_by_name_gives():
    claims = [Claim("c", 2, 1, 1.0), Claim("a", 2, 1, 1.0), Claim("b", 0, 0, 4.0)]
    assert transfers(claims, "b", 1) == {"a": 1}


def test_nobody_takes_a_chain_back_at_once_that_it_has_given():
    rng = Random(1)
    for _ in range(500):
        claims = [Claim(m, rng.randint(1, 9), 1, rng.uniform(0.1, 12.0)) for m in "abc"]
        given = transfers(claims, "a", rng.randint(1, 9))
        have = {c.model: c.have - given[c.model] for c in claims} | {"a": claims[0].have + given.total()}
        after = [Claim(c.model, have[c.model], c.least, c.need) for c in claims]
        for giver in given:
            assert not transfers(after, giver, 1)["a"]
