"""The lattice holds every down-set, with the right borders, and knows which cut directly follows which."""

from itertools import pairwise
from random import Random

import pytest

from cutwater.cut.blocks import collapse
from cutwater.cut.lattice import Lattice, best_cut_per_tenth, build_lattice, chain_cuts, find_cut
from cutwater.errors import BadCut
from cutwater.graph.graph import Graph, Op, Tensor


def graph_of(parents: list[list[int]], scopes: list[str] | None = None, kind: str = "Conv") -> Graph:
    """Op i reads the results of ``parents[i]``, or the input; the results nobody reads are the outputs."""
    sizes = Random(len(parents))
    names = [f"t{i}" for i in range(len(parents))]
    read = {parent for reads in parents for parent in reads}
    shared = [f"w{i // 2}" for i in range(len(parents))]
    ops = tuple(
        Op(
            index=i,
            name=f"op{i}",
            kind=kind,
            domain="",
            inputs=tuple(names[p] for p in reads) or ("x",),
            outputs=(names[i],),
            weights=(shared[i],),
            weight_bytes=100,
            flops=10,
            scope=scopes[i] if scopes else "",
        )
        for i, reads in enumerate(parents)
    )
    tensors = {name: Tensor(name, "float32", (4,), 4 * sizes.randrange(1, 9)) for name in ["x", *names]}
    outputs = tuple(names[i] for i in range(len(parents)) if i not in read)
    weights = dict.fromkeys(shared, 100)
    return Graph("dag", ops, tensors, ("x",), outputs, {"": 13}, "0" * 64, None, weights)  # type: ignore[arg-type]


def random_graph(seed: int, count: int) -> Graph:
    rng = Random(seed)
    return graph_of([rng.sample(range(i), min(i, rng.randrange(3))) for i in range(count)])


def brute_force(graph: Graph) -> dict[int, set[str]]:
    """Every down-set by trying all subsets, with its border found from scratch."""
    found = {}
    for mask in range(1 << len(graph.ops)):
        before = [op for op in graph.ops if mask >> op.index & 1]
        made = {name for op in before for name in op.outputs} | {"x"}
        if any(not made.issuperset(op.inputs) for op in before):
            continue
        wanted = {name for op in graph.ops if not mask >> op.index & 1 for name in op.inputs} | set(graph.outputs)
        found[mask] = made & wanted
    return found


@pytest.mark.parametrize("seed", range(12))
def test_all_down_sets_with_their_borders(seed: int) -> None:
    graph = random_graph(seed, 9)
    lattice = build_lattice(graph, collapse=False)
    expected = brute_force(graph)
    assert lattice.complete
    assert {cut.before: set(cut.border) for cut in lattice.cuts} == expected
    for cut in lattice.cuts:
        before = [op for op in graph.ops if cut.before >> op.index & 1]
        assert cut.border_bytes == sum(graph.tensors[name].nbytes for name in cut.border)
        assert cut.flops_before == 10 * len(before)
        assert cut.weight_bytes_before == 100 * len({op.weights for op in before})


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("limit", [50_000, 12])
def test_covers_are_exactly_the_direct_steps(seed: int, limit: int) -> None:
    lattice = build_lattice(random_graph(seed, 8), limit, collapse=False)
    masks = [cut.before for cut in lattice.cuts]
    assert masks[0] == 0
    assert masks[-1] == (1 << 8) - 1
    assert [mask.bit_count() for mask in masks] == sorted(mask.bit_count() for mask in masks)
    for upper, mask in enumerate(masks):
        below = [i for i in range(upper) if masks[i] & ~mask == 0]
        direct = [i for i in below if not any(masks[i] & ~masks[j] == 0 for j in below if j != i)]
        assert list(lattice.covers[upper]) == direct


def test_a_lattice_too_large_becomes_a_subset_along_the_topological_order() -> None:
    wide = graph_of([[] for _ in range(20)])
    lattice = build_lattice(wide, limit=500, collapse=False)
    assert not lattice.complete
    assert len(lattice.cuts) <= 500
    assert {(1 << i) - 1 for i in range(21)} <= set(lattice.position)


@pytest.mark.slow
def test_tens_of_thousands_of_down_sets() -> None:
    branches = [[] if i % 13 == 0 else [i - 1] for i in range(52)]
    lattice = build_lattice(graph_of(branches), collapse=False)
    assert lattice.complete
    assert len(lattice.cuts) == 14**4
    assert len(chain_cuts(lattice)) == 53


def test_the_chain_is_maximal_and_goes_where_borders_are_small() -> None:
    lattice = build_lattice(random_graph(3, 9), collapse=False)
    chain = chain_cuts(lattice)
    assert len(chain) == 10
    assert all(lower <= upper for lower, upper in pairwise(chain))
    assert (chain[0].label, chain[-1].label) == ("input", "output")


def test_the_best_cut_of_each_tenth_is_the_cheapest_there() -> None:
    lattice = build_lattice(graph_of([[], *[[i] for i in range(19)]]), collapse=False)
    best = best_cut_per_tenth(lattice)
    for tenth, cut in enumerate(best):
        inside = [other for other in lattice.cuts[1:-1] if 10 * other.flops_before // 200 == tenth]
        assert cut in inside
        assert cut is not None
        assert cut.border_bytes == min(other.border_bytes for other in inside)


class TestFindingACut:
    @pytest.fixture
    def lattice(self) -> Lattice:
        chain: list[list[int]] = [[], *[[i] for i in range(9)]]
        scopes = ["stem", *[f"blocks.{i // 2}" for i in range(8)], "head"]
        return build_lattice(graph_of(chain, scopes), collapse=False)

    @pytest.mark.parametrize(
        ("text", "before"),
        [
            ("input", 0),
            ("output", 10),
            ("after blocks.1", 5),
            ("blocks.1", 5),
            ("after blocks", 9),
            ("after op3", 4),
            ("t6", 7),
            ("3", 3),
            ("0%", 0),
            ("100%", 10),
            ("40 %", 4),
        ],
    )
    def test_by_the_words_of_a_person(self, lattice: Lattice, text: str, before: int) -> None:
        assert find_cut(lattice, text).before == (1 << before) - 1

    @pytest.mark.parametrize(
        ("text", "hint"),
        [("after block.1", "blocks.1"), ("op33", "op3"), ("99", "0 to 10"), ("nan%", "40%"), ("140%", "40%")],
    )
    def test_what_cannot_be_found_names_what_comes_closest(self, lattice: Lattice, text: str, hint: str) -> None:
        with pytest.raises(BadCut, match=hint):
            find_cut(lattice, text)

    def test_labels_name_the_layer_that_ends(self, lattice: Lattice) -> None:
        assert [cut.label for cut in lattice.cuts[:5]] == [
            "input",
            "after stem",
            "after op1",
            "after blocks.0",
            "after op3",
        ]


@pytest.mark.parametrize("seed", range(20))
def test_collapsing_keeps_a_cut_as_good_for_every_cut_it_drops(seed: int) -> None:
    """For each dropped cut another one stays whose border is no larger, with all heavy work on the same side."""
    rng = Random(seed)
    graph = random_graph(seed, 10)
    kinds = [rng.choice(["Conv", "Relu", "Add", "Concat"]) for _ in graph.ops]
    flops = [1000 if kind == "Conv" else 1 for kind in kinds]
    ops = tuple(
        Op(op.index, op.name, kinds[i], "", op.inputs, op.outputs, (), 0, flops[i]) for i, op in enumerate(graph.ops)
    )
    tensors = {name: Tensor(name, "float32", (1,), 10_000 * rng.randrange(1, 9)) for name in graph.tensors}
    graph = Graph("dag", ops, tensors, graph.inputs, graph.outputs, graph.opsets, graph.hash, None)  # type: ignore[arg-type]
    heavy = sum(1 << i for i, kind in enumerate(kinds) if kind == "Conv")
    kept = build_lattice(graph).cuts
    assert sum(block.ops for block in collapse(graph)) == (1 << 10) - 1
    for cut in build_lattice(graph, collapse=False).cuts:
        alike = [other for other in kept if other.before & heavy == cut.before & heavy]
        assert min(other.border_bytes for other in alike) <= cut.border_bytes
