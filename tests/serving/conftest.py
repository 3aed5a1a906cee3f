"""One served model for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from served import MODEL, NAMES, Served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, vit_tiny: Path) -> Iterator[Served]:
    names = tmp_path_factory.mktemp("names") / "names.txt"
    names.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        made = Served(Path(folder), shared_cache, vit_tiny)
        made.up()
        try:
            made.type("model", "add", vit_tiny, "--name", MODEL, "--classes", names)
            made.type("deploy", MODEL, "--stages", 2, "--on", "node-1", "--on", "node-2")
            yield made
        finally:
            made.type("down")
