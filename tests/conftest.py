"""Models every floor can test with, made once."""

import signal
from pathlib import Path

import pytest
from estimated import estimate

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.frameworks.open import open_graph
from cutwater.zoo.registry import build

# Started in the background of a shell that has no jobs, this process ignores interrupts, and so would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory, vit_tiny: Path) -> Path:
    """For what any test measures of a model, so that the next one need not; the small transformer's is estimated."""
    folder = tmp_path_factory.mktemp("cache")
    estimate(vit_tiny, folder, 3e-3)
    return folder


@pytest.fixture(scope="session")
def vit_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vision transformer with seeded weights, as an ONNX file."""
    return build("vit-tiny", tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def vit_lattice(vit_tiny: Path) -> Lattice:
    return build_lattice(open_graph(vit_tiny))
