"""Models every floor can test with, made once."""

from pathlib import Path

import pytest

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.frameworks.open import open_graph
from cutwater.zoo.registry import build


@pytest.fixture(scope="session")
def vit_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vision transformer with seeded weights, as an ONNX file."""
    return build("vit-tiny", tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def vit_lattice(vit_tiny: Path) -> Lattice:
    return build_lattice(open_graph(vit_tiny))
