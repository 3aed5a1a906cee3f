"""From the nodes of a cluster, as a coordinator sees them, to the Fleet a plan is made for."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import permutations

import msgspec

from cutwater.engine.control import MakePlan, NodeView
from cutwater.engine.facts.nodes import MeasuredLink
from cutwater.plan.fleet import LOCAL_LINK, Fleet, Link, Node
from cutwater.profile.profile import FrameCost, Profile
from cutwater.units import NodeId, Seconds

UNMEASURED_BANDWIDTH = 12.5e6
"""Bytes per second of a link between two machines that nobody has measured yet: 100 Mbit/s."""
UNMEASURED_LATENCY: Seconds = 1e-3
"""One way."""
_NAMED = 3
"""Nodes by which a host is called."""
_LEAST_SHARE = 0.05
"""Of a core, left to a worker however busy the others are: a plan must say how slow, not that it is impossible."""


def gateway_name(source: NodeId) -> NodeId:
    """What the gateway on a node is called in a plan; no node is called so, for names hold no ``@``."""
    return NodeId(f"gateway@{source}")


def fleet_of(command: MakePlan, views: Sequence[NodeView], profile: Profile) -> Fleet:
    """The gateway, and ``views`` as nodes that run one stage each.

    A node is as many times faster than the profile's device as its speed index says, less what was seen of it (a
    slowdown) and what other models take of its cores. Nodes of one host share its cores and reach each other as fast
    as was measured there; others by measured links, or the default one where both can be reached at all.
    """
    taken = dict(command.taken)
    for view in command.nodes:  # whether it is among ``views`` or not
        told = view.announcement
        taken[told.host] = taken.get(told.host, 0.0) + view.load * told.hardware.cores
    cores: dict[str, int] = {command.source_host: 1}
    for view in views:
        told = view.announcement
        cores[told.host] = max(cores.get(told.host, 1), told.hardware.cores)
    source = gateway_name(command.source)
    names = _host_names(cores, views)
    local = LOCAL_LINK if profile.local is None else Link(**msgspec.structs.asdict(profile.local))
    gateway = Node(
        name=source,
        host=names[command.source_host],
        stages=False,
        cores=cores[command.source_host],
        speed=_source_speed(command, views),
    )
    return Fleet(
        nodes=(gateway, *(_node(view, command, names, cores, taken) for view in views)),
        source=source,
        links=tuple([_charged(link, source, profile.entrance) for link in _links(command, views, local)]),
        local=local,
        hosts={names[host]: max(1, round(count - taken.get(host, 0.0))) for host, count in cores.items()},
    )


def _host_names(hosts: Iterable[str], views: Sequence[NodeView]) -> dict[str, str]:
    """What a plan calls each host: by its nodes, for its own identity says nothing to people."""
    names = {}
    for host in hosts:
        nodes = sorted(view.announcement.node for view in views if view.announcement.host == host)
        more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
        names[host] = f"of {', '.join(nodes[:_NAMED])}{more}" if nodes else "of the gateway"
    return names


def choose(views: Sequence[NodeView], most: int, always: Collection[NodeId] = ()) -> list[NodeView]:
    """The ``most`` fastest nodes, and those that are in ``always``: the solver's work grows with every kind of node."""
    ranked = sorted(views, key=lambda view: (-speed(view), view.announcement.node))
    kept = {view.announcement.node for view in ranked[:most]} | set(always)
    return [view for view in ranked if view.announcement.node in kept]


def speed(view: NodeView) -> float:
    """What a worker gets done on this node by itself, as a speed index."""
    free_cores = view.announcement.hardware.cores * (1.0 - view.load)
    return view.announcement.hardware.speed / max(view.slowdown, 1e-3) * min(1.0, max(free_cores, _LEAST_SHARE))


def _source_speed(command: MakePlan, views: Sequence[NodeView]) -> float:
    """Times faster than the profile's device: as fast as the nodes of its machine, where there are any."""
    here = [view.announcement.hardware.speed for view in views if view.announcement.host == command.source_host]
    return max(here) / command.record.speed if here else 1.0


def _node(
    view: NodeView, command: MakePlan, names: dict[str, str], cores: dict[str, int], taken: dict[str, float]
) -> Node:
    told = view.announcement
    free_cores = cores[told.host] - taken.get(told.host, 0.0)
    share = min(1.0, max(free_cores, _LEAST_SHARE))
    return Node(
        name=told.node,
        cores=cores[told.host],
        memory=max(view.free, 0),
        speed=told.hardware.speed / max(view.slowdown, 1e-3) / command.record.speed * share,
        host=names[told.host],
    )


def _charged(link: Link, gateway: NodeId, cost: FrameCost | None) -> Link:
    """With what a frame costs the gateway, which packs and unpacks for its clients, where it begins or ends there."""
    if link.source == gateway:
        return replace(link, send=cost)
    return replace(link, receive=cost) if link.target == gateway else link


def _links(command: MakePlan, views: Sequence[NodeView], local: Link) -> tuple[Link, ...]:
    """Between machines, and between the gateway and its own nodes; others of one machine have the fleet's ``local``.

    Where only the opposite direction was measured, both are taken to be alike.
    """
    measured = {(link.source, link.target): link for link in command.links}
    gateway = gateway_name(command.source)
    real = {gateway: command.source}
    hosts = {gateway: command.source_host} | {view.announcement.node: view.announcement.host for view in views}
    # Who listens at no address of a network can dial others, but not be dialled; the gateway only dials.
    closed = {view.announcement.node for view in views if not view.announcement.address.startswith("tcp:")}
    links = []
    for a, b in permutations(hosts, 2):
        if hosts[a] == hosts[b]:
            if gateway in (a, b):
                links.append(replace(local, source=a, target=b))
            continue
        if a in closed or b in closed:
            continue
        ends = (real.get(a, a), real.get(b, b))
        found = measured.get(ends) or measured.get((ends[1], ends[0]))
        links.append(_link(a, b, found))
    return tuple(links)


def _link(source: NodeId, target: NodeId, found: MeasuredLink | None) -> Link:
    if found is None:
        return Link(source=source, target=target, bandwidth=UNMEASURED_BANDWIDTH, latency=UNMEASURED_LATENCY)
    return Link(source=source, target=target, bandwidth=found.bandwidth, latency=found.latency)
