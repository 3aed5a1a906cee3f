"""A cluster of two nodes that serves one model in two stages, at its public doors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cutwater.frameworks.base import Array
from cutwater.frameworks.onnx import OnnxRuntime

MODEL = "vit"
NAMES = tuple(f"kind {k}" for k in range(1000))


class Served:
    """The cluster, commands to it, and the uncut model beside it."""

    def __init__(self, home: Path, cache: Path, model: Path) -> None:
        self.home = home
        self._environment = {**os.environ, "CUTWATER_HOME": str(home), "CUTWATER_CACHE": str(cache)}
        self._whole = OnnxRuntime().load(model.read_bytes())
        self.http = self.grpc = ""

    def type(self, *words: object) -> Any:
        """What a command answers as JSON; it must succeed."""
        command = [sys.executable, "-m", "cutwater", *map(str, words), "--json"]
        ended = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=100, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    def up(self) -> None:
        """Bring it up; its doors are at ports of their own."""
        words = ("--nodes", 2, "--gateway-http", "127.0.0.1:0", "--gateway-grpc", "127.0.0.1:0")
        facts = self.type("up", *words, "--gateway-trace", self.traces)["processes"]["gateway"]
        self.http, self.grpc = facts["http"], facts["grpc"]

    @property
    def traces(self) -> Path:
        """Folder of what the gateway's machines were told and did."""
        return self.home / "traces"

    def uncut(self, pictures: Array) -> Array:
        """What the whole model makes of one request."""
        (found,) = self._whole.run({"pictures": pictures})
        return np.asarray(found)

    def check(self, pictures: Array, found: Array) -> None:
        """It is the uncut model's answer."""
        wanted = self.uncut(pictures)
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))
