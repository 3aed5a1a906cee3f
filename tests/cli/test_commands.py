"""Commands as a person types them: what they print, how they end, and what they leave behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from typed import typed

pytestmark = pytest.mark.slow

CUTWATER = [sys.executable, "-m", "cutwater"]


@pytest.fixture(scope="module")
def cache(shared_cache: Path) -> dict[str, str]:
    """An environment with the tests' own cache."""
    return {**os.environ, "CUTWATER_CACHE": str(shared_cache)}


def cutwater(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*CUTWATER, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_show_prints_the_model_and_its_cuts(vit_tiny: Path, tmp_path: Path, cache: dict[str, str]) -> None:
    picture = tmp_path / "vit.svg"
    shown = cutwater("model", "show", vit_tiny, "--cut", "50%", "--svg", picture, "--json", env=cache)
    facts = json.loads(shown.stdout)
    assert shown.returncode == 0
    assert facts["model"] == "vit-tiny"
    assert facts["ops"] > 10
    assert facts["batchable"] is True
    assert len(facts["cuts_asked_for"]) == 1
    assert sum(cut["width"] for cut in facts["cut_per_tenth"]) > 0
    assert picture.read_text().startswith("<svg")
    assert "The cheapest cut in each tenth" in cutwater("model", "show", vit_tiny, env=cache).stdout


def test_run_streams_inputs_and_sets_predicted_beside_measured(
    vit_tiny: Path, tmp_path: Path, cache: dict[str, str]
) -> None:
    page = tmp_path / "page.html"
    ran = cutwater(
        "run", vit_tiny, "--stages", 3, "-i", "synthetic:5", "--repeat", 10, "--page", page, "--json", env=cache
    )
    facts = json.loads(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    assert (facts["requests"], facts["answered"]) == (50, 50)
    assert len(facts["stages"]) == 3
    assert all(stage["predicted"] > 0 and stage["computed"]["median"] > 0 for stage in facts["stages"])
    assert "<svg" in page.read_text()


def test_a_person_decides_where_to_cut_and_sees_the_price(
    vit_tiny: Path, tmp_path: Path, cache: dict[str, str]
) -> None:
    fleet, plan = tmp_path / "fleet.yaml", tmp_path / "plan.yaml"
    fleet.write_text(
        "source: cam\nnodes:\n  - {name: cam, speed: 0.2}\n  - {name: cloud, speed: 2}\n"
        "links:\n  - {between: [cam, cloud], bandwidth: 50 Mbit/s, latency: 2 ms}\n"
    )
    words = ("--fleet", fleet, "--objective", "throughput", "--cut", "50%", "--on", "cam", "--on", "-", "--explain")
    planned = cutwater("plan", vit_tiny, *words, "-o", plan, "--json", env=cache)
    facts = json.loads(planned.stdout)
    assert planned.returncode == 0, planned.stderr
    assert [stage["nodes"] for stage in facts["plan"]["stages"]] == [["cam"], ["cloud"]]
    assert facts["best"]["score"]["throughput"] >= facts["plan"]["score"]["throughput"]
    assert facts["advice"][0].startswith(facts["plan"]["score"]["bottleneck"])
    assert "Beside each other" in cutwater("plan", vit_tiny, *words, env=cache).stdout
    ran = cutwater("run", vit_tiny, "--plan", plan, "-i", "synthetic:3", "--json", env=cache)
    assert json.loads(ran.stdout)["answered"] == 30
    by_hand = cutwater("run", vit_tiny, "--cut", "30%", "--cut", "60%", "-i", "synthetic:3", "--json", env=cache)
    assert len(json.loads(by_hand.stdout)["stages"]) == 3


def test_one_broken_picture_is_named_and_the_others_are_answered(
    vit_tiny: Path, tmp_path: Path, cache: dict[str, str]
) -> None:
    for k in range(3):
        Image.fromarray(np.full((40, 50, 3), 60 * k, np.uint8)).save(tmp_path / f"good_{k}.png")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    ran = cutwater("run", vit_tiny, "--stages", 2, "-i", tmp_path, "--repeat", 1, "--json", env=cache)
    facts = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert (facts["requests"], facts["answered"]) == (4, 3)
    assert [failure["kind"] for failure in facts["failures"]] == ["BadPicture"]
    assert "torn.jpg" in ran.stderr


@pytest.fixture
def wrong(tmp_path: Path, vit_tiny: Path) -> dict[str, Path]:
    """Files that are not what they should be."""
    (tmp_path / "text.onnx").write_text("this is no model")
    (tmp_path / "half.onnx").write_bytes(vit_tiny.read_bytes()[:5000])
    np.save(tmp_path / "shape.npy", np.zeros((1, 3, 5, 5), np.float32))
    np.save(tmp_path / "type.npy", np.zeros((1, 3, 32, 32), np.float64))
    (tmp_path / "plan.yaml").write_text("model: [")
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("command", "kind", "says"),
    [
        (["model", "show", "nowhere.onnx"], "BadModel", "nowhere.onnx"),
        (["model", "show", "{text.onnx}"], "BadModel", "text.onnx"),
        (["model", "show", "{half.onnx}"], "BadModel", "half.onnx"),
        (["model", "show", "{vit}", "--size", "batch=nan"], "BadShape", "batch=nan"),
        (["model", "show", "{vit}", "--cut", "after nothing"], "BadCut", "nothing"),
        (["run", "{vit}", "-i", "{shape.npy}"], "BadTensor", "shape.npy"),
        (["run", "{vit}", "-i", "{type.npy}"], "BadTensor", "float64"),
        (["run", "{vit}", "--plan", "{plan.yaml}"], "BadFile", "plan.yaml"),
        (["run", "{vit}", "--timeout", "soon"], "BadQuantity", "soon"),
        (["run", "{vit}", "--timeout", "0 s"], "BadQuantity", "no time"),
        (["run", "{vit}", "--stages", "500"], "NoPlan", "500"),
        (["run", "{vit}", "--stages", "4", "--cut", "50%"], "InputError", "makes 2 stages, not 4"),
        (["run", "{vit}", "--plan", "{plan.yaml}", "--stages", "4"], "InputError", "leave out --stages"),
        (["run", "{vit}", "--fit", "squeeze"], "InputError", "letterbox"),
        (["model", "show", "{vit}", "--svg", "nowhere/vit.svg"], "BadFile", "nowhere/vit.svg: cannot be written"),
    ],
)
def test_bad_input_is_a_typed_error_that_names_it(
    command: list[str], kind: str, says: str, wrong: dict[str, Path], vit_tiny: Path
) -> None:
    known = {"{vit}": str(vit_tiny), **{f"{{{name}}}": str(path) for name, path in wrong.items()}}
    ended = typed(*(known.get(word, word) for word in command), "--json")
    assert ended.returncode == 2, ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert error["kind"] == kind
    assert says in error["message"]


def test_made_and_attached_models_are_named_in_json(tmp_path: Path, cache: dict[str, str]) -> None:
    listed = json.loads(cutwater("model", "make", "--json", env=cache).stdout)
    made = json.loads(cutwater("model", "make", "mobilenet-v2", "--out", tmp_path, "--json", env=cache).stdout)
    whole = tmp_path / "whole.onnx"
    command = ["model", "attach", made["path"], "classifier", "--out", whole, "--json"]
    attached = json.loads(cutwater(*command, env=cache).stdout)
    assert listed["mobilenet-v2"]["trained"] is False
    assert attached == {"path": str(whole), "bytes": whole.stat().st_size}


def test_what_stands_in_brackets_is_said_too(cache: dict[str, str]) -> None:
    ended = cutwater("model", "show", "picture[1].onnx", env=cache)
    assert "picture[1].onnx" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def endless(vit_tiny: Path, cache: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A run that would take long; it is under way once its workers are."""
    command = [*CUTWATER, "run", str(vit_tiny), "--stages", "2", "-i", "synthetic:2", "--repeat", "1000000"]
    process = subprocess.Popen(
        command, env=cache, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    yield process
    process.kill()
    process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Its two workers, as soon as both serve."""
    assert process.stderr is not None
    for line in process.stderr:
        if "streaming" in line:
            break
    return [
        child
        for child in psutil.Process(process.pid).children()
        if "cutwater.services.workers.worker" in child.cmdline()
    ]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_being_ended_leave_no_process_behind(endless: subprocess.Popen[str], end: signal.Signals) -> None:
    workers = workers_of(endless)
    assert len(workers) == 2
    endless.send_signal(end)
    endless.communicate(timeout=20)
    assert endless.returncode == 130
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_a_worker_killed_by_hand_ends_the_run_with_a_clear_error(endless: subprocess.Popen[str]) -> None:
    workers = workers_of(endless)
    workers[1].send_signal(signal.SIGKILL)
    _, said = endless.communicate(timeout=20)
    assert endless.returncode == 1
    assert "WorkerLost" in said
    assert "SIGKILL" in said
    assert str(workers[1].pid) in said
    assert "Traceback" not in said
    assert not psutil.pid_exists(workers[0].pid)
