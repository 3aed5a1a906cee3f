"""Fleet: the nodes that run stages, the links between them, and what they share; from a YAML file or this machine.

source: cam                       # where requests are born
sink: cloud                       # optional: where the output is wanted; by default it goes back to the source
nodes:
  - {name: cam, cores: 4, memory: 1 GiB, speed: 0.2}
  - {name: cloud, cores: 16, memory: 32 GiB, speed: 2, profile: cloud.json}
links:
  - {from: cam, to: cloud, bandwidth: 20 Mbit/s, latency: 8 ms, medium: wifi}
default_link: {bandwidth: 1 Gbit/s, latency: 0.2 ms}
media: {wifi: 50 Mbit/s}          # what all links of one medium share
hosts: {box: 8}                   # cores shared by the nodes with `host: box`
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cutwater.errors import did_you_mean
from cutwater.plan.reading import Place, read_yaml
from cutwater.profile.profile import FrameCost
from cutwater.units import NodeId, Seconds, parse_bandwidth, parse_bytes, parse_seconds

ANY = NodeId("*")
"""Stands for both ends of a default link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine, or one worker of a machine, that can run one stage. It need not be present to be planned for."""

    name: NodeId
    cores: int = 1
    """Processor cores; nodes that share a host share the host's."""
    threads: int = 1
    """Threads its worker computes with."""
    memory: int | None = None
    """Bytes its worker may use; None: no limit."""
    speed: float = 1.0
    """How many times faster than the device its profile was measured on."""
    profile: str | None = None
    """Profile file measured on this node; None: the profile the plan is made with."""
    host: str | None = None
    """The machine whose cores it shares with other nodes; None: a machine of its own."""
    stages: bool = True
    """Whether it may run a stage; a node that only sends requests or receives answers may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A directed path between two nodes."""

    source: NodeId = ANY
    target: NodeId = ANY
    bandwidth: float
    """Bytes per second."""
    latency: Seconds = 0.0
    """One way."""
    medium: str | None = None
    """The shared medium it uses (a radio channel, an uplink); None: nothing is shared."""
    send: FrameCost | None = None
    """CPU of the sender per frame; None: as measured in the sender's profile."""
    receive: FrameCost | None = None
    """CPU of the receiver per frame; None: as measured in the receiver's profile."""


LOCAL_LINK = Link(bandwidth=2e9, latency=50e-6)
"""A Unix socket between two workers of one machine, where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All nodes and the links between them."""

    nodes: tuple[Node, ...]
    source: NodeId
    """Where requests are born."""
    sink: NodeId | None = None
    """Where the output is wanted; None or the source: it goes back to the source over the links it came by."""
    links: tuple[Link, ...] = ()
    default: Link | None = None
    """Between two nodes without a link of their own; None: they cannot reach each other."""
    local: Link = LOCAL_LINK
    """Between two nodes of one host without a link of their own."""
    media: Mapping[str, float] = field(default_factory=dict)
    """Shared medium -> bytes per second, both directions of all its links together."""
    hosts: Mapping[str, int] = field(default_factory=dict)
    """Host -> cores."""

    def link(self, source: NodeId, target: NodeId) -> Link | None:
        """The path from one node to another; None where there is none."""
        for link in self.links:
            if (link.source, link.target) == (source, target):
                return link
        host = {node.name: node.host for node in self.nodes}
        shared = host[source] is not None and host[source] == host[target]
        template = self.local if shared else self.default
        return None if template is None else replace(template, source=source, target=target)


LOCAL_SOURCE = NodeId("gateway")
"""Where requests enter a fleet made by `local_fleet`."""


def local_fleet(
    workers: int,
    cores: int,
    *,
    threads: int = 1,
    memory: int | None = None,
    speed: float = 1.0,
    link: Link = LOCAL_LINK,
) -> Fleet:
    """``workers`` workers on this machine ("worker-0", ...) and a gateway, over Unix sockets.

    Args:
        workers: How many processes can run a stage each.
        cores: Processor cores they share with the gateway.
        threads: Threads of each worker.
        memory: Bytes each worker may use; None: no limit.
        speed: Times faster than the profile's device.
        link: What a Unix socket here does, where it was measured.
    """
    gateway = Node(name=LOCAL_SOURCE, cores=cores, host="local", speed=speed, stages=False)
    crew = tuple(
        Node(name=NodeId(f"worker-{k}"), cores=cores, threads=threads, memory=memory, speed=speed, host="local")
        for k in range(workers)
    )
    return Fleet(nodes=(gateway, *crew), source=gateway.name, local=link, hosts={"local": cores})


def load_fleet(path: Path) -> Fleet:
    """The fleet a YAML file describes (its form stands at the top of this file).

    Raises:
        BadFile: With file, line and field, for anything missing, unknown, double, negative or unreadable.
    """
    root = read_yaml(path)
    top = root.fields(("source", "sink", "nodes", "links", "default_link", "local_link", "media", "hosts"))
    for needed in ("source", "nodes"):
        if needed not in top:
            root.bad(f"needs the field {needed!r}")
    hosts = {name: place.count() for name, place in top["hosts"].entries().items()} if "hosts" in top else {}
    media = (
        {name: place.quantity(parse_bandwidth) for name, place in top["media"].entries().items()}
        if "media" in top
        else {}
    )
    nodes = _nodes(top["nodes"], hosts)
    names = {node.name for node in nodes}
    if "sink" in top:
        sink: NodeId | None = _known(top["sink"], names, "node")
    else:
        sink = None
    return Fleet(
        nodes=nodes,
        source=_known(top["source"], names, "node"),
        sink=sink,
        links=_links(top["links"], names, media) if "links" in top else (),
        default=_link(top["default_link"], top["default_link"].fields(_LINK), media) if "default_link" in top else None,
        local=_link(top["local_link"], top["local_link"].fields(_LINK), media) if "local_link" in top else LOCAL_LINK,
        media=media,
        hosts=hosts,
    )


_NODE = ("name", "cores", "threads", "memory", "speed", "profile", "host", "stages")
_LINK = ("bandwidth", "latency", "medium", "send", "receive")
_ENDS = ("from", "to", "between")


def _known(place: Place, names: set[NodeId], what: str) -> NodeId:
    name = place.text()
    if name not in names:
        place.bad(f"there is no {what} {name!r}{did_you_mean(name, names)}")
    return NodeId(name)


def _nodes(listing: Place, hosts: Mapping[str, int]) -> tuple[Node, ...]:
    nodes: dict[str, Node] = {}
    for place in listing.items():
        fields = place.fields(_NODE)
        if "name" not in fields:
            place.bad("needs the field 'name'")
        name = fields["name"].text()
        if name in nodes:
            fields["name"].bad(f"there are two nodes {name!r}")
        host = fields["host"].text() if "host" in fields else None
        if host is not None and host not in hosts:
            fields["host"].bad(f"there is no host {host!r}{did_you_mean(host, hosts)}")
        cores = fields["cores"].count() if "cores" in fields else (hosts[host] if host else 1)
        nodes[name] = Node(
            name=NodeId(name),
            cores=cores,
            threads=fields["threads"].count() if "threads" in fields else 1,
            memory=fields["memory"].quantity(parse_bytes) if "memory" in fields else None,
            speed=fields["speed"].quantity(float) if "speed" in fields else 1.0,
            profile=fields["profile"].text() if "profile" in fields else None,
            host=host,
            stages=fields["stages"].flag() if "stages" in fields else True,
        )
    if not nodes:
        listing.bad("needs at least one node")
    return tuple(nodes.values())


def _links(listing: Place, names: set[NodeId], media: Mapping[str, float]) -> tuple[Link, ...]:
    links: dict[tuple[NodeId, NodeId], Link] = {}
    for place in listing.items():
        fields = place.fields((*_ENDS, *_LINK))
        link = _link(place, fields, media)
        for source, target in _ends(place, fields, names):
            if (source, target) in links:
                place.bad(f"there are two links from {source!r} to {target!r}")
            links[source, target] = replace(link, source=source, target=target)
    return tuple(links.values())


def _ends(place: Place, fields: Mapping[str, Place], names: set[NodeId]) -> list[tuple[NodeId, NodeId]]:
    given = tuple(end for end in _ENDS if end in fields)
    if given == ("from", "to"):
        ends = [_known(fields["from"], names, "node"), _known(fields["to"], names, "node")]
        both_ways = False
    elif given == ("between",):
        ends = [_known(end, names, "node") for end in fields["between"].items()]
        both_ways = True
    else:
        place.bad("needs either 'from' and 'to' (one direction) or 'between: [A, B]' (both)")
    if len(ends) != 2 or ends[0] == ends[1]:
        place.bad("a link joins two different nodes")
    return [(ends[0], ends[1]), (ends[1], ends[0])] if both_ways else [(ends[0], ends[1])]


def _link(place: Place, fields: Mapping[str, Place], media: Mapping[str, float]) -> Link:
    if "bandwidth" not in fields:
        place.bad("needs the field 'bandwidth'")
    medium = fields["medium"].text() if "medium" in fields else None
    if medium is not None and medium not in media:
        fields["medium"].bad(f"there is no medium {medium!r}{did_you_mean(medium, media)}")
    return Link(
        bandwidth=fields["bandwidth"].quantity(parse_bandwidth),
        latency=fields["latency"].quantity(parse_seconds, positive=False) if "latency" in fields else 0.0,
        medium=medium,
        send=_frame_cost(fields["send"]) if "send" in fields else None,
        receive=_frame_cost(fields["receive"]) if "receive" in fields else None,
    )


def _frame_cost(place: Place) -> FrameCost:
    fields = place.fields(("fixed", "per_byte"))
    return FrameCost(
        fixed=fields["fixed"].quantity(parse_seconds, positive=False) if "fixed" in fields else 0.0,
        per_byte=fields["per_byte"].quantity(parse_seconds, positive=False) if "per_byte" in fields else 0.0,
    )
