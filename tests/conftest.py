"""Models every floor can test with, made once; and which tests may run side by side."""

import signal
from pathlib import Path

import pytest

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.frameworks.open import open_graph
from cutwater.zoo.registry import build

ALONE = ("cli", "client", "dashboard", "drivers", "lab", "security", "services", "serving")
"""Folders whose tests start processes and wait for them, or measure: one at a time."""

# Started in the background of a shell that has no jobs, this process ignores interrupts, and so would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that want the machine for themselves."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in ALONE:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what any test measures of a model, so that the next one need not."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def vit_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vision transformer with seeded weights, as an ONNX file."""
    return build("vit-tiny", tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def vit_lattice(vit_tiny: Path) -> Lattice:
    return build_lattice(open_graph(vit_tiny))
