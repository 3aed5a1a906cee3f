"""Plans for simulated runs, written down by hand."""

from cutwater.plan.plan import CutRef, HopScore, Plan, PlanStage, Score, StageScore
from cutwater.units import NodeId

SOURCE = NodeId("cam")


def chain_plan(seconds: tuple[float, ...], *, nbytes: float = 200e3, latency: float = 1e-3) -> Plan:
    """A plan of one stage per entry of ``seconds``, each on a node of its own, over links of 100 MB/s."""
    nodes = [NodeId(f"n{k + 1}") for k in range(len(seconds))]
    cuts = [CutRef(f"{k:x}", f"cut {k}") for k in range(len(seconds) + 1)]
    ends = [SOURCE, *nodes]
    hops = [
        HopScore(
            source=ends[k],
            target=ends[k + 1],
            codec="raw",
            nbytes=nbytes,
            back_bytes=4e3,
            latency=latency + nbytes / 1e8,
            back_latency=latency + 4e3 / 1e8,
            occupied=nbytes / 1e8,
        )
        for k in range(len(seconds))
    ]
    last = HopScore(
        source=nodes[-1], target=SOURCE, codec="raw", nbytes=0, back_bytes=0, latency=0, back_latency=0, occupied=0
    )
    scores = [
        StageScore(node=node, compute=each, encode=0, decode=0, transfer_cpu=ends * 50e-6, memory=0)
        for node, each, ends in zip(nodes, seconds, [4] * (len(nodes) - 1) + [2], strict=True)
    ]
    return Plan(
        model="net",
        model_hash="0",
        objective="throughput",
        source=SOURCE,
        sink=SOURCE,
        stages=tuple(PlanStage(begin=cuts[k], end=cuts[k + 1], nodes=(nodes[k],)) for k in range(len(seconds))),
        codecs=("raw",) * (len(seconds) + 1),
        score=Score(
            latency=sum(seconds) + sum(hop.latency + hop.back_latency for hop in hops),
            throughput=1 / max(seconds),
            bottleneck="",
            stages=tuple(scores),
            hops=(*hops, last),
            memory={},
            traffic={},
        ),
        bound=0,
        gap=0,
        solver="hand",
    )
