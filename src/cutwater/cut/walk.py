"""Stepping from down-set to down-set: border, bytes, FLOPs and weights of a cut, kept up to date block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from cutwater.cut.blocks import Block
from cutwater.cut.cut import Cut
from cutwater.cut.order import Order, bits
from cutwater.graph.graph import Graph


class State(NamedTuple):
    """A down-set of blocks with everything that can be known of it without looking at the whole graph again."""

    blocks: int
    ready: int
    """Blocks that may be added: not in the set, all their predecessors in it."""
    ops: int
    live: int
    """The border, as a mask over the walker's tensors."""
    nbytes: int
    flops: int
    weight_bytes: int


class _Step(NamedTuple):
    """What adding one block changes."""

    ops: int
    flops: int
    made: int
    """Tensors it adds to the border."""
    made_bytes: int
    last_reads: tuple[tuple[int, int, int], ...]
    """(tensor's bit, mask of all blocks that read it, bytes) of what may leave the border."""
    next: tuple[tuple[int, int], ...]
    """(bit, mask of predecessors) of the blocks that may become ready."""
    own_weights: int
    shared_weights: tuple[tuple[int, int], ...]
    """(bytes, mask of the blocks that use it) of each weight that other blocks use as well."""


@dataclass(frozen=True)
class Walker:
    """Moves along the lattice of down-sets of ``blocks``, which stand in topological order."""

    graph: Graph
    blocks: Sequence[Block]

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Tensors that may be in a border, in the fixed order of every border: graph inputs, then as they are made."""
        made = [name for op in self.graph.ops for name in op.outputs]
        outputs = set(self.graph.outputs)
        return tuple(
            name
            for name in (*self.graph.inputs, *made)
            if name in outputs or name not in self._maker or self._users[name] & ~(1 << self._maker[name])
        )

    def first(self) -> State:
        """The empty down-set: the border is the graph's inputs."""
        live = (1 << len(self.graph.inputs)) - 1
        nbytes = sum(self.graph.tensors[name].nbytes for name in self.graph.inputs)
        ready = sum(1 << number for number, needs in enumerate(self._needs) if needs == 0)
        return State(0, ready, 0, live, nbytes, 0, 0)

    def step(self, state: State, number: int) -> State:
        """``state`` with one more block, which must be ready."""
        step = self._steps[number]
        blocks = state.blocks | 1 << number
        live, nbytes = state.live | step.made, state.nbytes + step.made_bytes
        for bit, readers, size in step.last_reads:
            if readers & ~blocks == 0 and live & bit:
                live ^= bit
                nbytes -= size
        ready = state.ready ^ 1 << number
        for bit, needs in step.next:
            if needs & ~blocks == 0:
                ready |= bit
        weights = state.weight_bytes + step.own_weights
        for size, users in step.shared_weights:
            if users & state.blocks == 0:
                weights += size
        return State(blocks, ready, state.ops | step.ops, live, nbytes, state.flops + step.flops, weights)

    def cut(self, state: State) -> Cut:
        """The Cut of a down-set."""
        whole = state.ops.bit_count() == len(self.graph.ops)
        if whole and state.ops:
            border = self.graph.outputs
            nbytes = sum(self.graph.tensors[name].nbytes for name in border)
            return Cut(state.ops, border, nbytes, state.flops, state.weight_bytes, "output")
        names = self.tensors
        border = tuple(names[bit] for bit in bits(state.live))
        label = self._labels.of(state.ops, border) if state.ops else "input"
        return Cut(state.ops, border, state.nbytes, state.flops, state.weight_bytes, label)

    @cached_property
    def _owner(self) -> dict[int, int]:
        return {index: number for number, block in enumerate(self.blocks) for index in bits(block.ops)}

    @cached_property
    def _maker(self) -> dict[str, int]:
        return {name: self._owner[index] for name, index in self.graph.producer.items()}

    @cached_property
    def _users(self) -> dict[str, int]:
        return {
            name: sum({1 << self._owner[index] for index in readers})
            for name, readers in self.graph.consumers.items()
        }  # fmt: skip

    @cached_property
    def _needs(self) -> list[int]:
        needs = [0] * len(self.blocks)
        for name, maker in self._maker.items():
            for user in bits(self._users[name] & ~(1 << maker)):
                needs[user] |= 1 << maker
        return needs

    @cached_property
    def _steps(self) -> list[_Step]:
        position = {name: bit for bit, name in enumerate(self.tensors)}
        outputs = set(self.graph.outputs)
        users_of_weight: dict[str, int] = {}
        for op in self.graph.ops:
            for weight in op.weights:
                users_of_weight[weight] = users_of_weight.get(weight, 0) | 1 << self._owner[op.index]
        steps = []
        for number, block in enumerate(self.blocks):
            members = [self.graph.ops[index] for index in bits(block.ops)]
            made = [name for op in members for name in op.outputs if name in position]
            read = dict.fromkeys(name for op in members for name in op.inputs if name in position)
            weights = {weight for op in members for weight in op.weights if weight in self.graph.weights}
            shared = {weight for weight in weights if users_of_weight[weight] & ~(1 << number)}
            inner = sum(op.weight_bytes - sum(self.graph.weights.get(w, 0) for w in op.weights) for op in members)
            steps.append(
                _Step(
                    ops=block.ops,
                    flops=block.flops,
                    made=sum(1 << position[name] for name in made),
                    made_bytes=sum(self.graph.tensors[name].nbytes for name in made),
                    last_reads=tuple(
                        (1 << position[name], self._users[name], self.graph.tensors[name].nbytes)
                        for name in read
                        if name not in outputs
                    ),
                    next=tuple(
                        (1 << later, needs) for later, needs in enumerate(self._needs) if needs >> number & 1
                    ),
                    own_weights=inner + sum(self.graph.weights[weight] for weight in weights - shared),
                    shared_weights=tuple((self.graph.weights[weight], users_of_weight[weight]) for weight in shared),
                )
            )  # fmt: skip
        return steps

    @cached_property
    def _labels(self) -> "Labels":
        return Labels(self.graph)


@dataclass(frozen=True)
class Labels:
    """Names cuts by the last layers before them."""

    graph: Graph

    def of(self, before: int, border: tuple[str, ...]) -> str:
        """ "after blocks.5", or "after A | B" where two branches end, for a cut that is neither first nor last."""
        producer = self.graph.producer
        makers = sorted({producer[name] for name in border if name in producer})
        covered = 0
        for index in makers:
            covered |= self._order.ancestors[index]
        last = [index for index in makers if not covered >> index & 1]
        names = list(dict.fromkeys(self._name(index, before) for index in last))
        if not names:
            return f"after {before.bit_count()} ops"
        return "after " + " | ".join(names[-3:]) + (f" | {len(names) - 3} more" if len(names) > 3 else "")

    @cached_property
    def scopes(self) -> dict[str, int]:
        """Every layer and group of layers ("blocks", "blocks.5") -> mask of its ops."""
        masks: dict[str, int] = {}
        for op in self.graph.ops:
            for prefix in _prefixes(op.scope):
                masks[prefix] = masks.get(prefix, 0) | 1 << op.index
        return masks

    def _name(self, index: int, before: int) -> str:
        """The largest layer that ends here: all of it lies before the cut."""
        op = self.graph.ops[index]
        for prefix in _prefixes(op.scope):
            if self.scopes[prefix] & ~before == 0:
                return prefix
        return op.name

    @cached_property
    def _order(self) -> Order:
        return Order(self.graph)


def _prefixes(scope: str) -> list[str]:
    parts = scope.split(".") if scope else []
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
