"""The harness of the central promise: whatever the cuts, the stages in a row give what the whole model gives."""

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cutwater.cut.cut import Cut
from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.cut.split import split
from cutwater.cut.stage import Stage
from cutwater.graph.graph import Graph

Arrays = Mapping[str, NDArray[np.generic]]

EVERY = 150
"""Number of cuts up to which each of them is tried; above, a seeded sample."""


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


def run_stages(stages: Sequence[Stage], feeds: Arrays, optimise: bool = False) -> Arrays:
    for stage in stages:
        made = run(stage.onnx, {tensor.name: feeds[tensor.name] for tensor in stage.inputs}, optimise)
        feeds = {tensor.name: made[tensor.name] for tensor in stage.outputs}
        for tensor in stage.outputs:
            assert feeds[tensor.name].dtype.name == tensor.dtype, tensor
    return feeds


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


def chains_to_try(graph: Graph, samples: int) -> list[list[Cut]]:
    """Every legal cut of the uncollapsed graph where there are few; otherwise random chains of 2 to 5 stages."""
    lattice = build_lattice(graph, limit=EVERY, collapse=False)
    if lattice.complete:
        return chains_through_every_cut(lattice)
    rng = Random(graph.name)
    lattice = build_lattice(graph, limit=5000)
    return [random_chain(lattice, stages, rng) for stages in (2, 3, 4, 5) for _ in range(samples)]


def assert_bit_exact(graph: Graph, whole: bytes, chains: Sequence[Sequence[Cut]], batch: int = 1) -> None:
    feeds = feeds_for(graph, batch)
    expected = run(whole, feeds)
    for chain in chains:
        answered = run_stages(split(graph, chain), feeds)
        assert list(answered) == list(graph.outputs)
        for name in graph.outputs:
            np.testing.assert_array_equal(answered[name], expected[name], err_msg=str([cut.label for cut in chain]))


def assert_close_when_optimised(graph: Graph, whole: bytes, chain: Sequence[Cut]) -> None:
    """At most 1e-5 of the largest value: engines fuse differently across a cut."""
    feeds = feeds_for(graph)
    expected = run(whole, feeds, optimise=True)
    answered = run_stages(split(graph, chain), feeds, optimise=True)
    for name in graph.outputs:
        scale = max(float(np.abs(expected[name]).max(initial=0)), 1e-30)
        assert np.abs(answered[name].astype(float) - expected[name].astype(float)).max(initial=0) <= 1e-5 * scale
