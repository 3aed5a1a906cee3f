"""Terms: a Problem taken apart into what one stage and one hop cost, so that solvers can add and compare in bulk.

A unit is a kind of node together with a number of replicas. V units; index V stands for the source as a sender and
for the sink as a receiver. Node seconds are per replica. Letters as in `problem`: C cuts, K codecs; D shared loads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from cutwater.plan.objective import Objective
from cutwater.plan.problem import RAW, Bools, Floats, Ints, Problem
from cutwater.plan.score import contention_factor

GIVEN_UP = 2
"""The count of a source that will run no stage, though it could."""


@dataclass(frozen=True, eq=False)
class Terms:
    """What stages and hops cost, under an assumption of how busy shared hosts are at most."""

    problem: Problem
    objective: Objective
    kind: Ints
    """[V] index into ``problem.types``."""
    count: Ints
    """[V] replicas."""
    node: Ints
    """[V] a node of that kind."""
    have: Ints
    """[types] nodes of each kind."""
    base: Ints
    """[types] numbers a kind's count can be: up to all of them; for the source one more, `GIVEN_UP`."""
    stride: Ints
    """[types] a multiset of used nodes is coded as ``used @ stride``, each digit below its base."""
    factor: Floats
    """[V] how much slower compute is while requests stream."""
    host_threads: Ints
    """[types, H] threads one node of the kind keeps busy on each host."""
    host_limit: Ints
    """[H] busy threads that ``factor`` assumes at most."""

    lag: Floats
    """[V + 1, V + 1, K, C] seconds one request waits for a hop; infinite where the hop is not allowed."""
    out: Floats
    """[V + 1, V + 1, K, C] seconds of the sender."""
    into: Floats
    """[V + 1, V + 1, K, C] seconds of the receiver."""
    ahead: Floats
    """[V + 1, V + 1, K, C] seconds the link is occupied forwards."""
    back: Floats
    """[V + 1, V + 1] seconds the opposite direction is occupied by the answer."""
    shared: Floats
    """[D, V + 1, V + 1, K, C] seconds of every shared resource used by a hop, the CPU of its ends included."""
    host_share: Floats
    """[D, V] seconds of a shared resource per second that a replica of the unit works."""
    source_kind: int
    """Kind of the source where it may run a stage, else -1."""
    sink_kind: int
    """Kind of the sink where it is another node than the source and may run a stage, else -1."""

    @property
    def units(self) -> int:
        """V."""
        return len(self.kind)

    def compute(self, unit: int) -> Floats:
        """[C] seconds of all ops before a cut, alone."""
        prefix: Floats = self.problem.prefix[self.node[unit]]
        return prefix

    def counts(self, used: Ints) -> Ints:
        """[L, types] how many nodes of each kind the coded multisets ``used`` [L] hold."""
        counts: Ints = used[:, None] // self.stride % self.base
        return counts

    def memory_allows(self, unit: int) -> Bools | None:
        """[C, C] whether a stage between two cuts fits; None where everything does."""
        p, node = self.problem, int(self.node[unit])
        room = float(p.memory[node] - p.base_memory[node])
        if room >= float(p.weight[-1]) + (2.0 + 2.0 * p.depth) * p.batch * float(p.border.max()):
            return None
        buffers = p.depth * p.batch * p.border
        need = (p.weight + buffers)[None, :] - (p.weight - buffers)[:, None] + p.batch * peaks(p)
        fits: Bools = need <= room
        return fits


def peaks(problem: Problem) -> Floats:
    """[C, C] `Problem.peak` of every pair of ordered cuts."""
    if problem.chain:
        wide = np.where(np.tri(len(problem.cuts), dtype=bool).T, problem.border[None, :], 0.0)
        return 2.0 * np.maximum.accumulate(wide, axis=1)
    reach = np.zeros((len(problem.cuts), len(problem.cuts)))
    order = problem.order
    for cut, covers in enumerate(problem.covers):
        before = list(covers)
        column = reach[:, before].max(axis=1) if before else np.zeros(len(problem.cuts))
        column = np.maximum(column, problem.border[cut])
        reach[:, cut] = np.where(order[:, cut], column, 0.0)
        reach[cut, cut] = problem.border[cut]
    return 2.0 * reach


def make_terms(problem: Problem, objective: Objective, host_limit: Ints | None = None) -> Terms:
    """The terms under the assumption that at most ``host_limit`` [H] threads work on each host; None: all may."""
    types = problem.types
    most = problem.limits.max_replicas
    kinds = [(k, r) for k, group in enumerate(types) for r in range(1, min(most or len(group), len(group)) + 1)]
    kind = np.array([k for k, _ in kinds], np.int64)
    count = np.array([r for _, r in kinds], np.int64)
    node = np.array([types[k][0] for k, _ in kinds], np.int64)
    have = np.array([len(group) for group in types], np.int64)
    host_threads = np.zeros((len(types), len(problem.hosts)), np.int64)
    for k, group in enumerate(types):
        if problem.host[group[0]] >= 0:
            host_threads[k, problem.host[group[0]]] = problem.threads[group[0]]
    limit = have @ host_threads if host_limit is None else host_limit
    of = {n: k for k, group in enumerate(types) for n in group}
    base = have + 1
    if problem.source in of:
        base[of[problem.source]] = GIVEN_UP + 1
    hops = _hops(problem, objective, kind, count, node)
    return Terms(
        problem=problem,
        objective=objective,
        kind=kind,
        count=count,
        node=node,
        have=have,
        base=base,
        stride=np.concatenate([[1], np.cumprod(base)[:-1]]).astype(np.int64),
        factor=np.array([_factor(problem, int(n), limit) for n in node]),
        host_threads=host_threads,
        host_limit=limit,
        source_kind=of.get(problem.source, -1),
        sink_kind=-1 if problem.returns else of.get(problem.sink, -1),
        **hops,
    )


def host_assumptions(problem: Problem) -> Iterator[Ints]:
    """Every combination of busy threads per host that makes a difference: compute slows down as more of them are.

    A plan costs no more under its own count than under a higher one, so the best plan over all combinations is exact.
    """
    choices = []
    for host, cores in enumerate(problem.host_cores):
        members = [n for n in np.flatnonzero(problem.host == host) if problem.runs[n]]
        threads = [int(problem.threads[n]) for n in members]
        total = sum(threads)
        slowed = any(problem.contention[n] > 1.0 for n in members)
        sums = {0}
        for own in threads:
            sums |= {s + own for s in sums}
        levels = sorted(s for s in sums if s and s < max(cores, max(threads, default=1) + 1)) if slowed else []
        choices.append(sorted({*levels, total}))
    for levels_of in product(*choices):
        yield np.array(levels_of, np.int64)


def _factor(problem: Problem, node: int, limit: Ints) -> float:
    host = int(problem.host[node])
    return 1.0 if host < 0 else contention_factor(problem, node, max(int(limit[host]), int(problem.threads[node])))


def _hops(p: Problem, objective: Objective, kind: Ints, count: Ints, node: Ints) -> dict[str, Floats]:
    size = len(kind) + 1
    shape = (size, size, len(p.codecs), len(p.cuts))
    streams = objective.aim == "throughput" or objective.rate is not None
    media = [m for m in range(len(p.media)) if streams and np.any(p.medium == m)]
    hosts = [h for h in range(len(p.hosts)) if streams and _may_crowd(p, h)]
    arrays = {name: np.zeros(shape) for name in ("lag", "out", "into", "ahead")}
    arrays["lag"] += np.inf
    back = np.zeros((size, size))
    shared = np.zeros((len(media) + len(hosts), *shape))
    share = np.zeros((len(media) + len(hosts), size - 1))
    for d, h in enumerate(hosts):
        share[len(media) + d] = np.where(p.host[node] == h, count * p.threads[node] / p.host_cores[h], 0.0)
    answer = p.answer if p.returns else 0.0
    for a in range(size):
        for b in range(size):
            pair = _pair(p, kind, node, a, b)
            if pair is None:
                continue
            s, r = pair
            if b == size - 1 and p.returns:
                arrays["lag"][a, b, RAW, -1] = 0.0
                continue
            if s == r:
                arrays["lag"][a, b, RAW] = 0.0
                continue
            ra = int(count[a]) if a < size - 1 else 1
            rb = int(count[b]) if b < size - 1 else 1
            out = p.encode[s] + p.send_fixed[s, r] + p.size * p.send_per_byte[s, r]
            into = p.decode[r] + p.receive_fixed[s, r] + p.size * p.receive_per_byte[s, r]
            lag = p.latency[s, r] + p.size / p.bandwidth[s, r]
            if p.returns:
                out = out + p.receive_fixed[r, s] + answer * p.receive_per_byte[r, s]
                into = into + p.send_fixed[r, s] + answer * p.send_per_byte[r, s]
                lag = lag + p.latency[r, s] + answer / p.bandwidth[r, s]
            arrays["lag"][a, b] = np.where(p.allowed, lag + out + into, np.inf)
            arrays["out"][a, b] = out / ra
            arrays["into"][a, b] = into / rb
            arrays["ahead"][a, b] = p.size / p.bandwidth[s, r] / (ra * rb)
            back[a, b] = answer / p.bandwidth[r, s] / (ra * rb)
            for d, m in enumerate(media):
                load = p.size * (p.medium[s, r] == m) + answer * (p.medium[r, s] == m)
                shared[d, a, b] = load / p.media_bandwidth[m]
            for d, h in enumerate(hosts, len(media)):
                if p.host[s] == h:
                    shared[d, a, b] += out * p.threads[s] / p.host_cores[h]
                if p.host[r] == h:
                    shared[d, a, b] += into * p.threads[r] / p.host_cores[h]
    return {**arrays, "back": back, "shared": shared, "host_share": share}


def _may_crowd(p: Problem, host: int) -> bool:
    """Whether the nodes of a host can ask for more than its cores: elsewhere the busiest node is always busier."""
    members = [n for n in np.flatnonzero(p.host == host) if p.runs[n] or n in (p.source, p.sink)]
    return int(p.threads[members].sum()) > int(p.host_cores[host])


def _pair(p: Problem, kind: Ints, node: Ints, a: int, b: int) -> tuple[int, int] | None:
    """Two nodes that stand for the units of a hop; None where there is no such hop."""
    inside = len(kind)
    if a == inside and b == inside:
        return None
    sender = p.source if a == inside else int(node[a])
    if b == inside:
        return sender, p.sink
    receiver = int(node[b])
    if a < inside and kind[a] == kind[b]:
        group = p.types[int(kind[a])]
        return None if len(group) == 1 else (group[0], group[1])
    return sender, receiver
