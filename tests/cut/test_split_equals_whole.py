"""Split equals whole: bit by bit with the engine's optimisation off, within 1e-5 with all of it."""

from pathlib import Path
from random import Random

import onnx
import pytest
from split_equals_whole import assert_bit_exact, assert_close_when_optimised, chains_to_try, random_chain
from tiny_models import TINY

from cutwater.cut.lattice import build_lattice
from cutwater.frameworks.open import observe_shapes, open_graph
from cutwater.graph.graph import Graph
from cutwater.graph.model import model_from_bytes
from cutwater.graph.read import build_graph
from cutwater.zoo.registry import MODELS, build

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
SEEDED = ["vit-tiny", "mobilenet-v2", "yolov8n", "resnet50", "lstm", "control-flow"]
"""Models of the zoo that need nothing from elsewhere: add one by its name."""


def tiny_graph(name: str) -> Graph:
    model = model_from_bytes(TINY[name], name)
    return build_graph(model, None, observe_shapes(model))


@pytest.mark.parametrize("name", TINY)
def test_every_legal_cut_of_a_tiny_model_at_once(name: str) -> None:
    graph = tiny_graph(name)
    chains = chains_to_try(graph, samples=0)
    assert {cut.before for chain in chains for cut in chain} == {
        cut.before for cut in build_lattice(graph, collapse=False).cuts
    }
    assert_bit_exact(graph, TINY[name], chains)
    assert_close_when_optimised(graph, TINY[name], chains[0])


@pytest.mark.parametrize("name", [name for name in TINY if name not in ("branch", "loop")])
def test_a_stage_takes_any_batch_where_the_model_does(name: str) -> None:
    graph = tiny_graph(name)
    assert graph.batchable
    assert_bit_exact(graph, TINY[name], chains_to_try(graph, samples=0), batch=3)


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_models_whose_weights_are_made_by_ops(path: Path) -> None:
    graph = open_graph(path)
    assert_bit_exact(graph, path.read_bytes(), chains_to_try(graph, samples=1))
    if graph.flops < 1e10:
        chain = random_chain(build_lattice(graph, limit=1000), 3, Random(1))
        assert_close_when_optimised(graph, path.read_bytes(), chain)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDED)
def test_models_of_the_zoo(name: str, tmp_path: Path) -> None:
    assert name in MODELS
    path = build(name, tmp_path)
    graph = open_graph(path, MODELS[name].sizes)
    assert_bit_exact(graph, path.read_bytes(), chains_to_try(graph, samples=1))
    chain = random_chain(build_lattice(graph, limit=6000), 3, Random(1))
    assert_close_when_optimised(graph, path.read_bytes(), chain)
