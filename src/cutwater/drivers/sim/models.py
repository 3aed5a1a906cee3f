"""SimModel: a network as the simulator knows it, and a planner that is quick rather than clever.

The planner stands in for the real one, which needs a graph and a profile: it gives stages of about equal work to the
nodes that are fastest for it and have the memory.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from zlib import crc32

import msgspec

from cutwater.engine.control import MakePlan, NodeView, Planned
from cutwater.engine.facts.deployments import Blueprint, Chain, Door, Post, StagePart, WholeModel
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.fault import Fault
from cutwater.graph.graph import Tensor
from cutwater.plan.plan import CutRef, HopScore, Plan, PlanStage, Score, StageScore
from cutwater.units import NodeId, Seconds, StageId

Planner = Callable[[MakePlan], Planned]
"""What the coordinator's wish for a plan comes to."""


class SimModel(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks one after the other; it can be cut between any two."""

    name: str
    blocks: tuple[Seconds, ...]
    """What each takes on a node of speed 1."""
    border: int = 100_000
    """Bytes of the one tensor between blocks, and of the input."""
    answer: int = 4_000
    memory: int = 50 * 2**20
    """Bytes of each block's weights."""

    @property
    def record(self) -> ModelRecord:
        """What the cluster knows of it."""
        return ModelRecord(
            name=self.name,
            hash=self.name,
            blob=f"{self.name}/0/{len(self.blocks)}",
            nbytes=self.memory * len(self.blocks),
            profile="",
            speed=1.0,
        )

    def tensor(self, at: int) -> Tensor:
        """What crosses before block ``at``."""
        size = self.answer if at == len(self.blocks) else self.border
        return Tensor(name=f"t{at}", dtype="uint8", shape=(1, size), nbytes=size)

    def part(self, stage: int, begin: int, end: int) -> StagePart:
        """Blocks ``begin`` to ``end`` as a stage."""
        return StagePart(
            stage=StageId(f"stage-{stage + 1}"),
            blob=f"{self.name}/{begin}/{end}",
            nbytes=self.memory * (end - begin),
            inputs=(self.tensor(begin),),
            outputs=(self.tensor(end),),
            batchable=True,
        )

    def seconds(self, blob: str) -> Seconds:
        """What the stage stored as ``blob`` takes on a node of speed 1."""
        _, begin, end = blob.rsplit("/", 2)
        return sum(self.blocks[int(begin) : int(end)])

    def door(self, at: int) -> Door:
        """What enters, or leaves, there."""
        tensor = self.tensor(at)
        return Door(border=(tensor.name,), travelling=(tensor,), codec="raw")

    @property
    def whole(self) -> WholeModel:
        """In one piece."""
        last = len(self.blocks)
        return WholeModel(
            part=self.part(0, 0, last), entry=self.door(0), exit=self.door(last), memory=self.memory * last
        )


def split_evenly(blocks: Sequence[Seconds], stages: int) -> list[int]:
    """Where to cut so that the stages do about the same: ``stages + 1`` positions, no stage empty."""
    total = sum(blocks)
    cuts, passed = [0], 0.0
    for at, seconds in enumerate(blocks):
        passed += seconds
        wanted = len(cuts)
        enough = passed >= total * wanted / stages - 1e-12 or len(blocks) - at - 1 <= stages - wanted
        if wanted < stages and enough:
            cuts.append(at + 1)
    return [*cuts, len(blocks)]


def quick_planner(models: Mapping[str, SimModel], stages: int = 3) -> Planner:
    """Plans of so many stages, where a `DeploySpec` leaves it open and there are as many nodes."""

    def plan(command: MakePlan) -> Planned:
        return _QuickPlan(models[command.spec.model], command, stages).planned()

    return plan


class _QuickPlan:
    """One answer to `MakePlan`."""

    def __init__(self, model: SimModel, command: MakePlan, stages: int) -> None:
        self.model = model
        self.command = command
        self.spec = command.spec
        wanted = set(self.spec.nodes)
        views = [view for view in command.nodes if not wanted or view.announcement.node in wanted]
        self.views = {view.announcement.node: view for view in views}
        self.most = self.spec.stages or min(stages, command.span or stages)
        self.used: dict[NodeId, int] = {}

    def planned(self) -> Planned:
        """The blueprint, or why there is none."""
        chains: list[Chain] = []
        for _ in range(self.spec.chains):
            chain = self._chain()
            if chain is None:
                break
            chains.append(chain)
        ticket, name = self.command.ticket, self.model.name
        if not chains:
            fault = Fault("NoPlan", f"no {self.spec.stages or 1} nodes have room for {name}", "planner")
            return Planned(model=name, ticket=ticket, fault=fault, current=self._current(), short=self._short())
        throughput = sum(chain.plan.score.throughput for chain in chains)
        latency = min(chain.plan.score.latency for chain in chains)
        blueprint = Blueprint(
            model=name, chains=tuple(chains), throughput=throughput, latency=latency, whole=self.model.whole
        )
        best = latency if self.spec.objective.startswith("latency") else throughput
        return Planned(model=name, ticket=ticket, blueprint=blueprint, best=best, current=self._current())

    def _short(self) -> bool:
        """Whether there are nodes enough, if only they had more memory free."""
        return len(self.views) >= (self.spec.stages or 1)

    def _chain(self) -> Chain | None:
        nodes = self._nodes()
        stages = min(self.most, len(nodes), len(self.model.blocks))
        if not stages or (self.spec.stages is not None and stages < self.spec.stages):
            return None
        cuts = split_evenly(self.model.blocks, stages)
        parts = tuple(self.model.part(k, begin, end) for k, (begin, end) in enumerate(pairwise(cuts)))
        chosen, rest = nodes[:stages], nodes[stages:]
        posts = [self._place(k, part, view) for k, (part, view) in enumerate(zip(parts, chosen, strict=True))]
        busiest = max(range(stages), key=lambda k: posts[k].seconds)
        more = [(busiest, False)] * (self.spec.replicas - 1)
        more += [(k, True) for _ in range(self.spec.spares) for k in range(stages)]
        for (k, spare), view in zip(more, rest, strict=False):
            posts.append(self._place(k, parts[k], view, spare=spare))
        ordered = tuple(sorted(posts, key=lambda post: (post.stage, post.spare)))
        last = len(self.model.blocks)
        plan = self._plan(cuts, ordered)
        entry, exit_ = self.model.door(0), self.model.door(last)
        return Chain(plan=plan, parts=parts, posts=ordered, entry=entry, exit=exit_, batch=self.spec.batch)

    def _nodes(self) -> list[NodeView]:
        """Those with room for a stage, the fastest first; of equals the one with most room left, and then any."""
        need = self.model.memory * -(-len(self.model.blocks) // self.most)
        free = {node: view.free - self.used.get(node, 0) for node, view in self.views.items()}
        fit = [view for node, view in self.views.items() if free[node] >= need and node not in self.used]
        return sorted(
            fit,
            key=lambda view: (
                view.slowdown / view.announcement.hardware.speed,
                -free[view.announcement.node],
                crc32(f"{self.model.name} {view.announcement.node}".encode()),
            ),
        )

    def _place(self, k: int, part: StagePart, view: NodeView, *, spare: bool = False) -> Post:
        node = view.announcement.node
        self.used[node] = self.used.get(node, 0) + part.nbytes
        seconds = self.model.seconds(part.blob) * view.slowdown / view.announcement.hardware.speed
        return Post(stage=k, node=node, seconds=seconds, memory=part.nbytes, spare=spare)

    def _current(self) -> float | None:
        """What the live blueprint is worth now."""
        live = self.command.live
        if live is None:
            return None
        worth, latencies = 0.0, []
        for chain in live.chains:
            stages: dict[int, float] = {}
            for post in chain.posts:
                view = self.views.get(post.node)
                if post.spare:
                    continue
                if view is None:
                    return None
                part = chain.parts[post.stage]
                seconds = self.model.seconds(part.blob) * view.slowdown / view.announcement.hardware.speed
                stages[post.stage] = stages.get(post.stage, 0.0) + 1.0 / seconds
            worth += min(stages.values())
            latencies.append(sum(1.0 / rate for rate in stages.values()))
        return min(latencies) if self.spec.objective.startswith("latency") else worth

    def _plan(self, cuts: Sequence[int], posts: Sequence[Post]) -> Plan:
        refs = [CutRef(f"{at:x}", f"before block {at}") for at in cuts]
        source = self.command.source
        own = [p for p in posts if not p.spare]
        groups = [[p for p in own if p.stage == k] for k in range(len(cuts) - 1)]
        rates = [sum(1.0 / p.seconds for p in group) for group in groups]
        seconds = [max(p.seconds for p in group) for group in groups]
        ends = [source, *(group[0].node for group in groups), source]
        hops = tuple(
            HopScore(
                source=a, target=b, codec="raw", nbytes=self.model.border, back_bytes=self.model.answer, latency=0.0,
                back_latency=0.0, occupied=0.0,
            )
            for a, b in pairwise(ends)
        )  # fmt: skip
        scores = tuple(
            StageScore(node=group[0].node, compute=each, encode=0.0, decode=0.0, transfer_cpu=0.0, memory=0)
            for group, each in zip(groups, seconds, strict=True)
        )
        stages = tuple(
            PlanStage(begin=begin, end=end, nodes=tuple(p.node for p in group))
            for (begin, end), group in zip(pairwise(refs), groups, strict=True)
        )
        score = Score(
            latency=sum(seconds), throughput=min(rates), bottleneck="", stages=scores, hops=hops, memory={}, traffic={}
        )
        return Plan(
            model=self.model.name, model_hash=self.model.name, objective=self.spec.objective, source=source,
            sink=source, stages=stages, codecs=("raw",) * len(cuts), score=score, bound=min(rates), gap=0.0,
            solver="quick",
        )  # fmt: skip
