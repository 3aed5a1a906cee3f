"""The harness of the central promise: whatever the cuts, the stages in a row give what the whole model gives."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ValueInfoProto

from cutwater.cut.blocks import single_ops
from cutwater.cut.cut import Cut
from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.cut.order import bits
from cutwater.cut.split import split
from cutwater.cut.stage import Stage
from cutwater.cut.walk import Walker
from cutwater.graph.graph import Graph

Arrays = Mapping[str, NDArray[np.generic]]

EVERY = 150
"""Number of cuts up to which each of them is tried; above, a seeded sample ..."""
SAMPLED = 120
"""... of so many legal ones, besides those worth offering."""


def session(data: bytes, optimise: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(data: bytes, feeds: Arrays, optimise: bool = False) -> Arrays:
    engine = session(data, optimise)
    names = [value.name for value in engine.get_outputs()]
    wanted = [value.name for value in engine.get_inputs()]
    return dict(zip(names, engine.run(names, {name: feeds[name] for name in wanted}), strict=True))


def run_stages(
    stages: Sequence[Stage], feeds: Arrays, optimise: bool = False, expected: Arrays | None = None
) -> Arrays:
    """The last stage's answer; what crosses a border must have its declared type, and be ``expected`` bit by bit."""
    for stage in stages:
        made = run(stage.onnx, {tensor.name: feeds[tensor.name] for tensor in stage.inputs}, optimise)
        feeds = {tensor.name: made[tensor.name] for tensor in stage.outputs}
        for tensor in stage.outputs:
            assert feeds[tensor.name].dtype.name == tensor.dtype, tensor
            if expected is not None and tensor.name in expected:
                np.testing.assert_array_equal(feeds[tensor.name], expected[tensor.name], err_msg=stage.end.label)
    return feeds


def returning(whole: bytes, names: Iterable[str]) -> bytes:
    """The model, which also returns the named tensors as far as it makes them."""
    proto = onnx.load_from_string(whole)
    made = {name for node in proto.graph.node for name in node.output} - {value.name for value in proto.graph.output}
    proto.graph.output.extend(ValueInfoProto(name=name) for name in dict.fromkeys(names) if name in made)
    data: bytes = proto.SerializeToString()
    return data


def feeds_for(graph: Graph, batch: int = 1, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    feeds = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        shape = tuple(batch if axis == tensor.batch_axis else size for axis, size in enumerate(tensor.shape))
        values = rng.normal(size=shape) if tensor.dtype.startswith("float") else rng.integers(0, 100, shape)
        feeds[name] = values.astype(tensor.dtype)
    return feeds


def chains_through_every_cut(lattice: Lattice) -> list[list[Cut]]:
    """Maximal chains that together touch each cut: as many stages as possible in one run of the model."""
    above: list[list[int]] = [[] for _ in lattice.cuts]
    for index, below in enumerate(lattice.covers):
        for other in below:
            above[other].append(index)
    fresh = set(range(len(lattice.cuts)))
    chains = []
    while fresh:
        chain = [min(fresh)]
        while lattice.covers[chain[0]]:
            chain.insert(0, min(lattice.covers[chain[0]], key=lambda index: (index not in fresh, index)))
        while above[chain[-1]]:
            chain.append(min(above[chain[-1]], key=lambda index: (index not in fresh, index)))
        fresh.difference_update(chain)
        chains.append([lattice.cuts[index] for index in chain])
    return chains


def random_chain(lattice: Lattice, stages: int, rng: Random) -> list[Cut]:
    """Up to ``stages`` stages between random cuts, each containing the one before."""
    chain = [lattice.cuts[0], lattice.cuts[-1]]
    for cut in rng.sample(lattice.cuts[1:-1], len(lattice.cuts) - 2):
        if len(chain) == stages + 1:
            break
        if all(cut <= other or other <= cut for other in chain) and cut not in chain:
            chain.append(cut)
    return sorted(chain, key=lambda cut: cut.before.bit_count())


def random_walk(graph: Graph, stops: int, rng: Random) -> list[Cut]:
    """Legal cuts along one random order of all ops, most of them where no planner would cut: up to ``stops``, and both
    ends. Independent branches advance together, so borders are wide."""
    walker = Walker(graph, single_ops(graph))
    passed = [walker.first()]
    while passed[-1].ready:
        passed.append(walker.step(passed[-1], rng.choice(list(bits(passed[-1].ready)))))
    inner = range(1, len(passed) - 1)
    chosen = sorted(rng.sample(inner, min(stops, len(inner))))
    return [walker.cut(passed[index]) for index in (0, *chosen, len(passed) - 1)]


def few_stages(lattice: Lattice, rng: Random) -> list[list[Cut]]:
    """One random chain each of 2, 3, 4 and 5 stages."""
    return [random_chain(lattice, stages, rng) for stages in (2, 3, 4, 5)]


def chains_to_try(graph: Graph) -> list[list[Cut]]:
    """Chains of 2 to 5 stages, and longer ones that touch many cuts in one run of the model.

    Every legal cut where there are at most `EVERY`. Otherwise every cut that is offered to a planner, or as many chains
    as there are minimal ones in a sample, and `SAMPLED` cuts along random orders of the ops.
    """
    rng = Random(graph.name)
    legal = build_lattice(graph, limit=EVERY, collapse=False)
    if legal.complete:
        return chains_through_every_cut(legal) + few_stages(legal, rng)
    offered = build_lattice(graph, limit=5000)
    chains = [random_walk(graph, SAMPLED // 2, rng) for _ in range(2)]
    if len(offered.cuts) <= EVERY:
        chains += chains_through_every_cut(offered)
    return chains + few_stages(offered, rng)


def assert_bit_exact(graph: Graph, whole: bytes, chains: Sequence[Sequence[Cut]], feeds: Arrays | None = None) -> None:
    """The answer, and every tensor on the way: networks whose weights are all alike give one answer to everything."""
    feeds = feeds_for(graph) if feeds is None else feeds
    expected = run(returning(whole, (name for chain in chains for cut in chain for name in cut.border)), feeds)
    for chain in chains:
        answered = run_stages(split(graph, chain), feeds, expected=expected)
        assert list(answered) == list(graph.outputs)


def deviation(answered: Arrays, expected: Arrays) -> float:
    """The largest difference, as a share of the output's largest value; the worst output counts."""
    assert answered.keys() == expected.keys()
    worst = 0.0
    for name, values in expected.items():
        scale = max(float(np.abs(values).max(initial=0)), 1e-30)
        worst = max(worst, float(np.abs(answered[name].astype(float) - values.astype(float)).max(initial=0)) / scale)
    return worst
