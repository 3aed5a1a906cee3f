"""From a model of the zoo to answers, as a person types it: add, deploy, infer, undeploy, remove."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from typed import typed

from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.plan.many.files import ManyPlan, PlannedModel, Predicted, Way, save_many
from cutwater.units import NodeId

pytestmark = pytest.mark.slow


class Home:
    """A cluster with two nodes, and commands to it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._more = {"CUTWATER_HOME": str(folder), "CUTWATER_CACHE": str(cache)}

    def type(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command, in a process of its own if it starts others or ends them."""
        if words[0] not in ("up", "down"):
            return typed(*words, **self._more)
        command = [sys.executable, "-m", "cutwater", *map(str, words)]
        environment = {**os.environ, **self._more}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    def ask(self, *words: object) -> Any:
        """The JSON that a command answers with; it must succeed."""
        ended = self.type(*words, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def refused(self, *words: object) -> str:
        """The kind of error a command ends with."""
        ended = self.type(*words, "--json")
        assert ended.returncode != 0
        return str(json.loads(ended.stdout)["error"]["kind"])


@pytest.fixture(scope="module")
def home(shared_cache: Path) -> Iterator[Home]:
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        made = Home(Path(folder), shared_cache)
        made.ask("up", "--nodes", 2)
        yield made
        made.ask("down")


def test_from_a_model_to_answers_and_back(home: Home, vit_tiny: Path, tmp_path: Path) -> None:
    assert home.refused("deploy", "vit-tiny") == "NotFound"
    assert home.refused("infer", "vit-tiny", "synthetic:1") == "NotFound"
    assert home.ask("model", "add", vit_tiny)["new"] is True
    assert home.ask("model", "add", vit_tiny)["new"] is False
    (known,) = home.ask("model", "list")
    assert (known["name"], known["deployed"]) == ("vit-tiny", False)

    status = home.ask("deploy", "vit-tiny", "--stages", 2, "--on", "node-1", "--on", "node-2")
    (epoch,) = status["epochs"]
    assert epoch["phase"] == "live" and {worker["stage"] for worker in epoch["workers"]} == {0, 1}
    assert {worker["state"]["phase"] for worker in epoch["workers"]} == {"ready"}

    pictures = np.random.default_rng(7).standard_normal((3, 3, 64, 64)).astype(np.float32)
    np.save(tmp_path / "pictures.npy", pictures)
    said = home.ask("infer", "vit-tiny", tmp_path / "pictures.npy", "--repeat", 2)
    assert (said["answered"], said["failed"], said["degraded"]) == (6, 0, 0)
    session = OnnxRuntime().load(vit_tiny.read_bytes())
    for k, answer in enumerate(said["answers"]):
        (wanted,) = session.run({"pictures": pictures[k % 3 : k % 3 + 1]})
        (found,) = (output["values"] for output in answer["outputs"].values())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))
    session.close()

    lines = home.type("infer", "vit-tiny", "synthetic:4", "--rate", 20, "--jsonl", "-")
    assert len(lines.stdout.splitlines()) == 4 and "4 answered" in lines.stderr

    assert home.refused("model", "remove", "vit-tiny") == "InputError"
    home.ask("undeploy", "vit-tiny")
    until_gone = 40
    while home.type("model", "remove", "vit-tiny").returncode != 0:
        until_gone -= 1
        assert until_gone, "its last worker does not end"
    assert home.ask("model", "list") == []


def test_one_input_that_cannot_be_read_fails_alone(home: Home, vit_tiny: Path, tmp_path: Path) -> None:
    home.ask("model", "add", vit_tiny)
    home.ask("deploy", "vit-tiny", "--stages", 1)
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 64, 64), np.float32))
    (tmp_path / "b.png").write_bytes(b"no picture")
    ended = home.type("infer", "vit-tiny", tmp_path / "a.npy", tmp_path / "b.png", "--json")
    said = json.loads(ended.stdout)
    assert (ended.returncode, said["answered"], said["failed"]) == (1, 2, 1)
    assert [answer["error"]["kind"] for answer in said["answers"] if "error" in answer] == ["BadPicture"]


def test_a_placement_of_many_models_is_brought_up(home: Home, vit_tiny: Path, tmp_path: Path) -> None:
    home.ask("model", "add", vit_tiny)
    places = (NodeId("node-2"), NodeId("node-1"))
    none = Predicted(asked=0, answered=0, mean=None, p50=None, p90=None, p99=None)
    way = Way(cuts=("50%",), places=places, seconds=(0.001, 0.001), latency=0.003)
    served = PlannedModel(name="vit-tiny", slo=2.0, ways=(way,), predicted=none)
    unserved = PlannedModel(name="nobody", slo=2.0, ways=(), predicted=none)
    file = tmp_path / "many.json"
    save_many(ManyPlan(method="greedy", models=(served, unserved), groups=(places,), memory={}, predicted=none), file)
    [status] = home.ask("deploy", "--placement", file)
    [epoch] = [each for each in status["epochs"] if each["phase"] == "live"]
    assert {worker["stage"]: worker["node"] for worker in epoch["workers"]} == {0: "node-2", 1: "node-1"}
    assert status["spec"]["timeout"] == 2.0
    assert home.refused("deploy", "--placement", file, "--stages", 2) == "BadSetting"
