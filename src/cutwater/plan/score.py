"""score: the one cost model. Solvers, their oracle and choices made by hand are all judged here.

A request enters at the source, hops to the first stage, and so on; the answer goes back hop by hop (or the last stage
hands the output on to a sink that is another node). Latency adds everything one request waits for with nothing else
going on. Throughput is one over the busiest resource's seconds per request: a node (its stage and the frames it
handles), a direction of a link, a shared medium, the cores of a shared host.

While requests stream, nodes that share a host slow each other down: compute counts ``1 + (contention - 1) * share``
times, where share is how much of the host's other cores the plan's other stages keep busy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from cutwater.errors import NoPlan
from cutwater.plan.plan import HopScore, Score, StageScore
from cutwater.plan.problem import RAW, Choice, Problem
from cutwater.units import NodeId


@dataclass(frozen=True, slots=True)
class Hop:
    """The costs of one hop, forwards and back, per request."""

    latency: float
    back_latency: float
    nbytes: float
    back_bytes: float
    encode: float
    decode: float
    send: float
    """CPU of the sending end: the frame out and the answer in."""
    receive: float
    """CPU of the receiving end: the frame in and the answer out."""
    transfer_cpu: float
    """The part of both ends' CPU that a request waits for: all of it."""


@dataclass(slots=True)
class Tally:
    """Seconds per request of every resource that a choice uses."""

    latency: float
    nodes: dict[int, float]
    """Node -> seconds it works per request of the whole stream; replicas share."""
    links: dict[tuple[int, int], float]
    """Direction of a link -> seconds it is occupied."""
    media: dict[int, float]
    hosts: dict[int, float]
    """Host -> seconds of CPU over its cores."""
    crowded: frozenset[int]
    """Hosts whose stages compute with more threads than there are cores."""

    def resources(self) -> Iterator[tuple[str, object, float]]:
        """(kind, key, seconds) of each resource, nodes first."""
        for node, seconds in self.nodes.items():
            yield "node", node, seconds
        for link, seconds in self.links.items():
            yield "link", link, seconds
        for medium, seconds in self.media.items():
            yield "medium", medium, seconds
        for host, seconds in self.hosts.items():
            yield "host", host, seconds

    @property
    def period(self) -> float:
        """Seconds between two requests at the highest rate that can be sustained."""
        return max(seconds for _, _, seconds in self.resources())


NO_HOP = Hop(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def hop_costs(problem: Problem, sender: int, receiver: int, cut: int, codec: int, *, back: bool) -> Hop:
    """One hop of ``cut``'s border between two nodes; ``back``: whether the answer returns over it."""
    if sender == receiver:
        return NO_HOP
    p = problem
    nbytes = float(p.size[codec, cut])
    send = float(p.send_fixed[sender, receiver] + nbytes * p.send_per_byte[sender, receiver])
    receive = float(p.receive_fixed[sender, receiver] + nbytes * p.receive_per_byte[sender, receiver])
    latency = float(p.latency[sender, receiver] + nbytes / p.bandwidth[sender, receiver])
    back_latency = back_bytes = 0.0
    if back:
        back_bytes = p.answer
        receive += float(p.send_fixed[receiver, sender] + back_bytes * p.send_per_byte[receiver, sender])
        send += float(p.receive_fixed[receiver, sender] + back_bytes * p.receive_per_byte[receiver, sender])
        back_latency = float(p.latency[receiver, sender] + back_bytes / p.bandwidth[receiver, sender])
    return Hop(
        latency=latency,
        back_latency=back_latency,
        nbytes=nbytes,
        back_bytes=back_bytes,
        encode=float(p.encode[sender, codec, cut]),
        decode=float(p.decode[receiver, codec, cut]),
        send=send,
        receive=receive,
        transfer_cpu=send + receive,
    )


def contention_factors(problem: Problem, choice: Choice) -> dict[int, float]:
    """Per node that runs a stage, by how much its compute is slowed down while requests stream."""
    used = [node for stage in choice.nodes for node in stage]
    factors = dict.fromkeys(used, 1.0)
    for node in used:
        host = int(problem.host[node])
        if host >= 0:
            busy = sum(int(problem.threads[n]) for n in used if problem.host[n] == host)
            factors[node] = contention_factor(problem, node, busy)
    return factors


def contention_factor(problem: Problem, node: int, busy: int) -> float:
    """The slow-down of a node on whose host stages keep ``busy`` threads working, its own included."""
    own = int(problem.threads[node])
    cores = int(problem.host_cores[problem.host[node]])
    share = 0.0 if busy <= own else min(1.0, (busy - own) / max(cores - own, 1))
    return 1.0 + (float(problem.contention[node]) - 1.0) * share


def crowded_hosts(problem: Problem, choice: Choice) -> frozenset[int]:
    """Hosts whose stages compute with more threads than there are cores."""
    threads: dict[int, int] = {}
    for node in (node for stage in choice.nodes for node in stage):
        host = int(problem.host[node])
        threads[host] = threads.get(host, 0) + int(problem.threads[node])
    return frozenset(h for h, count in threads.items() if h >= 0 and count > problem.host_cores[h])


def hops_of(problem: Problem, choice: Choice) -> list[tuple[tuple[int, ...], tuple[int, ...], Hop]]:
    """(senders, receivers, costs) of every hop, the last one to the sink included."""
    ends = ((problem.source,), *choice.nodes, (problem.sink,))
    hops = []
    for k, (senders, receivers) in enumerate(pairwise(ends)):
        if k == len(choice.nodes) and problem.returns:
            hops.append((senders, receivers, NO_HOP))
        else:
            pair = (senders[0], receivers[0])
            hops.append(
                (senders, receivers, hop_costs(problem, *pair, choice.cuts[k], choice.codecs[k], back=problem.returns))
            )
    return hops


def tally(problem: Problem, choice: Choice) -> Tally:
    """What a choice asks of every resource. It is not checked: see `check`."""
    p = problem
    hops = hops_of(p, choice)
    factors = contention_factors(p, choice)
    total = Tally(0.0, {}, {}, {}, {}, crowded_hosts(p, choice))
    for k, stage in enumerate(choice.nodes):
        alone = float(
            p.overhead[stage[0]] + p.prefix[stage[0], choice.cuts[k + 1]] - p.prefix[stage[0], choice.cuts[k]]
        )
        total.latency += alone
        for node in stage:
            total.nodes[node] = total.nodes.get(node, 0.0) + alone * factors[node] / len(stage)
    for senders, receivers, hop in hops:
        if hop is NO_HOP:
            continue
        total.latency += hop.encode + hop.decode + hop.transfer_cpu + hop.latency + hop.back_latency
        for node in senders:
            total.nodes[node] = total.nodes.get(node, 0.0) + (hop.encode + hop.send) / len(senders)
        for node in receivers:
            total.nodes[node] = total.nodes.get(node, 0.0) + (hop.decode + hop.receive) / len(receivers)
        _occupy(p, total, senders, receivers, hop)
    for node, seconds in total.nodes.items():
        host = int(p.host[node])
        if host >= 0:
            load = seconds * float(p.threads[node]) / float(p.host_cores[host])
            total.hosts[host] = total.hosts.get(host, 0.0) + load
    return total


def _occupy(p: Problem, total: Tally, senders: tuple[int, ...], receivers: tuple[int, ...], hop: Hop) -> None:
    share = 1.0 / (len(senders) * len(receivers))
    for a in senders:
        for b in receivers:
            for link, nbytes in (((a, b), hop.nbytes), ((b, a), hop.back_bytes)):
                if nbytes:
                    seconds = share * nbytes / float(p.bandwidth[link])
                    total.links[link] = total.links.get(link, 0.0) + seconds
                    medium = int(p.medium[link])
                    if medium >= 0:
                        load = share * nbytes / float(p.media_bandwidth[medium])
                        total.media[medium] = total.media.get(medium, 0.0) + load


def check(problem: Problem, choice: Choice) -> None:
    """Raise NoPlan where a choice is no plan: cuts out of order, a node twice, no link, too little memory."""
    p = problem
    stages = len(choice.nodes)
    if len(choice.cuts) != stages + 1 or len(choice.codecs) != stages + 1 or not stages:
        raise NoPlan(f"{stages} stages need {stages + 1} cuts and codecs")
    if choice.cuts[0] != 0 or choice.cuts[-1] != p.last:
        raise NoPlan("the first stage begins at the input and the last one ends at the output")
    for begin, end in pairwise(choice.cuts):
        if not p.below(begin, end):
            raise NoPlan(f"the cut {p.cuts[begin].label!r} does not lie before {p.cuts[end].label!r}")
    used = [node for stage in choice.nodes for node in stage]
    if len(set(used)) != len(used):
        raise NoPlan("a node can run one stage only")
    _check_nodes(p, choice)
    for (senders, receivers, hop), cut, codec in zip(hops_of(p, choice), choice.cuts, choice.codecs, strict=True):
        if hop.latency == float("inf") or hop.back_latency == float("inf"):
            raise NoPlan(f"there is no link between {p.nodes[senders[0]]!r} and {p.nodes[receivers[0]]!r}")
        if hop is not NO_HOP and not p.allowed[codec, cut]:
            raise NoPlan(f"the codec {p.codecs[codec]!r} exceeds the accuracy budget {p.cuts[cut].label!r}")


def _check_nodes(p: Problem, choice: Choice) -> None:
    kind = {node: k for k, group in enumerate(p.types) for node in group}
    for k, stage in enumerate(choice.nodes):
        for node in stage:
            if not p.runs[node]:
                raise NoPlan(f"the node {p.nodes[node]!r} runs no stages")
            if kind[node] != kind[stage[0]]:
                raise NoPlan(f"replicas must be of one kind, and {p.nodes[node]!r} differs from {p.nodes[stage[0]]!r}")
            need = p.stage_memory(node, choice.cuts[k], choice.cuts[k + 1])
            if need > p.memory[node]:
                raise NoPlan(f"node {p.nodes[node]!r} needs {need:.0f} bytes for stage {k}, has {p.memory[node]:.0f}")


def score(problem: Problem, choice: Choice) -> Score:
    """What a choice is predicted to do. Raises NoPlan where it is not a plan at all."""
    check(problem, choice)
    return unchecked_score(problem, choice)


def unchecked_score(problem: Problem, choice: Choice) -> Score:
    """The same for a choice that `check` would refuse, such as one whose replicas differ: each counts as the first."""
    p = problem
    total = tally(p, choice)
    kind, key, period = max(total.resources(), key=lambda entry: entry[2])
    return Score(
        latency=total.latency,
        throughput=1.0 / period if period > 0 else float("inf"),
        bottleneck=resource_name(p, kind, key),
        stages=_stage_scores(p, choice),
        hops=_hop_scores(p, choice),
        memory={
            p.nodes[node]: round(p.stage_memory(node, choice.cuts[k], choice.cuts[k + 1]))
            for k, stage in enumerate(choice.nodes)
            for node in stage
        },
        traffic=_traffic(p, choice),
    )


def resource_name(p: Problem, kind: str, key: object) -> str:
    """ "node NAME", "link A -> B", "medium NAME" or "host NAME"."""
    if isinstance(key, tuple):
        return f"link {p.nodes[key[0]]} -> {p.nodes[key[1]]}"
    assert isinstance(key, int)
    return f"{kind} {({'node': p.nodes, 'medium': p.media, 'host': p.hosts})[kind][key]}"


def _stage_scores(p: Problem, choice: Choice) -> tuple[StageScore, ...]:
    hops = hops_of(p, choice)
    factors = contention_factors(p, choice)
    scores = []
    for k, stage in enumerate(choice.nodes):
        node, begin, end = stage[0], choice.cuts[k], choice.cuts[k + 1]
        into, out = hops[k][2], hops[k + 1][2]
        scores.append(
            StageScore(
                node=p.nodes[node],
                compute=float(p.overhead[node] + p.prefix[node, end] - p.prefix[node, begin]) * factors[node],
                encode=out.encode,
                decode=into.decode,
                transfer_cpu=into.receive + out.send,
                memory=round(p.stage_memory(node, begin, end)),
            )
        )
    return tuple(scores)


def _hop_scores(p: Problem, choice: Choice) -> tuple[HopScore, ...]:
    return tuple(
        HopScore(
            source=p.nodes[senders[0]],
            target=p.nodes[receivers[0]],
            codec=p.codecs[RAW if hop is NO_HOP else codec],
            nbytes=hop.nbytes,
            back_bytes=hop.back_bytes,
            latency=hop.latency,
            back_latency=hop.back_latency,
            occupied=max(
                hop.nbytes / float(p.bandwidth[senders[0], receivers[0]]),
                hop.back_bytes / float(p.bandwidth[receivers[0], senders[0]]),
            ),
        )
        for (senders, receivers, hop), codec in zip(hops_of(p, choice), choice.codecs, strict=True)
    )


def _traffic(p: Problem, choice: Choice) -> dict[NodeId, float]:
    traffic: dict[NodeId, float] = {}
    for senders, receivers, hop in hops_of(p, choice):
        for end in (senders, receivers):
            for node in end:
                if hop is not NO_HOP:
                    seen = traffic.get(p.nodes[node], 0.0)
                    traffic[p.nodes[node]] = seen + (hop.nbytes + hop.back_bytes) / len(end)
    return traffic
