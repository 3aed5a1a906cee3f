"""One cluster for all stories; after each of them its stream must have gone on, undisturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from secured import Secured


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, vit_tiny: Path, shared_cache: Path) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    made.bring_up(vit_tiny, shared_cache)
    yield made
    made.take_down()


@pytest.fixture(autouse=True)
def _undisturbed(cluster: Secured) -> Iterator[None]:
    yield
    cluster.stream.wait_for(5)
    assert cluster.stream.errors == []
