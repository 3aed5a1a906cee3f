"""A cluster of one's own for a benchmark, in a folder that goes with it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple


class Served(NamedTuple):
    """A model to add and deploy."""

    model: str
    """A file, or a model of the zoo."""
    name: str
    stages: int = 1


@contextmanager
def cluster(folder: Path, *models: Served, nodes: int = 1) -> Iterator[dict[str, Any]]:
    """So many nodes and a gateway, which serves the models; what `cutwater up` says of its processes."""
    environment = {**os.environ, "CUTWATER_HOME": str(folder / "home")}

    def cutwater(*words: str) -> str:
        command = [sys.executable, "-m", "cutwater", *words]
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    try:
        told = json.loads(cutwater("up", "--nodes", str(nodes), "--json"))
        for each in models:
            cutwater("model", "add", each.model, "--name", each.name, "--json")
            cutwater("deploy", each.name, "--stages", str(each.stages), "--json")
        yield told["processes"]
    finally:
        cutwater("down")
