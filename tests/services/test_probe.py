"""A probe goes over every worker, in as few requests as that takes."""

from itertools import product

from cutwater.engine.vocabulary import Route
from cutwater.services.gateway.probe import covering
from cutwater.wire.message import Hop


def route(*addresses: str, chain: int = 0, spare: bool = False) -> Route:
    return Route(tuple(Hop(address, "plain") for address in addresses), chain=chain, spare=spare)


def over(routes: list[Route]) -> set[tuple[int, str]]:
    return {(route.chain, hop.address) for route in routes for hop in route.hops}


def test_every_worker_of_every_chain_is_seen() -> None:
    routes = [route(*way) for way in product("ab", "cde", "f")]
    routes += [route(*way, chain=1) for way in product("g", "hi")]
    chosen = covering(routes)
    assert over(chosen) == over(routes)
    assert len(chosen) <= 6


def test_spares_are_seen_too_and_normal_ways_come_first() -> None:
    normal, spare = route("a", "b"), route("a", "s", spare=True)
    assert covering([spare, normal]) == [normal, spare]


def test_where_there_is_no_way_there_is_nothing_to_see() -> None:
    assert covering([]) == []
