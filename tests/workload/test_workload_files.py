"""Descriptions in files: what is written is read again, and a typo is reported with file, line, field and a remedy."""

from pathlib import Path

import numpy as np
import pytest

from cutwater.errors import BadFile
from cutwater.workload.arrivals import Constant, Gamma, Poisson, Replay, State, Step, Steps, Sum
from cutwater.workload.files import load_workload, open_schedule, save_workload
from cutwater.workload.workload import Demand, Mix, Workload, make

YAML = """\
duration: 10 min
seed: 7
models:
  resnet50:
    arrivals: {kind: gamma, rate: 20/s, cv: 3}
    slo: 250 ms
  bert: {}
  vit:
    arrivals:
      kind: sum
      parts:
        - {kind: constant, rate: 30/min}
        - kind: steps
          steps: [{at: 0, rate: 1}, {at: 1 min, rate: 2/s}]
mixes:
  office:
    arrivals: {kind: poisson, rate: 1200/min}
    shares: {resnet50: 20, bert: 80}
"""
TOML = """\
duration = "10 min"
seed = 7

[models.resnet50]
slo = "250 ms"
arrivals = {kind = "gamma", rate = "20/s", cv = 3}

[models.bert]

[models.vit.arrivals]
kind = "sum"

[[models.vit.arrivals.parts]]
kind = "constant"
rate = "30/min"

[[models.vit.arrivals.parts]]
kind = "steps"
steps = [{at = 0, rate = 1.0}, {at = "1 min", rate = "2/s"}]

[mixes.office]
arrivals = {kind = "poisson", rate = "1200/min"}
shares = {resnet50 = 20, bert = 80}
"""
WORKLOAD = Workload(
    models={
        "resnet50": Demand(Gamma(20.0, 3.0), slo=0.25),
        "bert": Demand(),
        "vit": Demand(Sum((Constant(0.5), Steps((Step(0.0, 1.0), Step(60.0, 2.0)))))),
    },
    duration=600.0,
    seed=7,
    mixes={"office": Mix(Poisson(20.0), {"resnet50": 20.0, "bert": 80.0})},
)


def written(folder: Path, text: str, name: str = "w.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(("name", "text"), [("w.yaml", YAML), ("w.toml", TOML)])
def test_yaml_and_toml_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert load_workload(written(tmp_path, text, name)) == WORKLOAD


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    save_workload(WORKLOAD, tmp_path / "again.yaml")
    assert load_workload(tmp_path / "again.yaml") == WORKLOAD


def test_a_replay_finds_its_recording_beside_the_description(tmp_path: Path) -> None:
    (tmp_path / "day.json").write_text('{"a": [[0.5, 1.5]], "b": [[0.25, 2.75]]}')
    text = "duration: 4\nmodels: {vit: {arrivals: {kind: replay, file: day.json, model: b, speed: 2}}}\n"
    workload = load_workload(written(tmp_path, text))
    assert workload.models["vit"].arrivals == Replay(np.array([0.25, 2.75]), 3.0, speed=2.0, file="day.json", model="b")
    assert make(workload).of("vit").tolist() == [0.125, 1.375]
    save_workload(workload, tmp_path / "again.yaml")
    assert load_workload(tmp_path / "again.yaml") == workload


def test_a_replay_that_no_file_holds_cannot_be_described(tmp_path: Path) -> None:
    workload = Workload({"kind": Demand(Replay(np.array([0.5]), 1.0))}, 1.0)
    with pytest.raises(BadFile, match="only if it was read from a file"):
        save_workload(workload, tmp_path / "w.yaml")


def test_a_description_names_models_only_as_it_can_be_read(tmp_path: Path) -> None:
    workload = Workload({"owner/function": Demand(Constant(1.0))}, 1.0)
    with pytest.raises(BadFile, match=r"models.owner/function: .*convert --stripe"):
        save_workload(workload, tmp_path / "w.yaml")
    assert not (tmp_path / "w.yaml").exists()


def test_a_description_is_drawn_with_its_own_seed_or_another(tmp_path: Path) -> None:
    path = written(tmp_path, YAML)
    own, seventh, eighth = (open_schedule(path, seed=seed).of("resnet50").tobytes() for seed in (None, 7, 8))
    assert own == seventh != eighth


def of(arrivals: str) -> str:
    return f"duration: 60 s\nmodels:\n  vit:\n    arrivals:\n      {arrivals}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            of("{kind: poison, rate: 1}"),
            ":5: models.vit.arrivals.kind: there are no arrivals of kind 'poison'; did you mean 'poisson'?",
        ),
        (of("{rate: 1}"), ":5: models.vit.arrivals: needs the field 'kind', one of constant, poisson, gamma,"),
        (of("{kind: poisson}"), ":5: models.vit.arrivals: needs the field 'rate'"),
        (of("{kind: poisson, rat: 1}"), ":5: models.vit.arrivals.rat: unknown field; did you mean 'rate'?"),
        (of("{kind: poisson, rate: -2/s}"), ":5: models.vit.arrivals.rate: -2/s is negative"),
        (of("{kind: poisson, rate: -2}"), ":5: models.vit.arrivals.rate: -2 must be above 0"),
        (of("{kind: poisson, rate: .nan}"), ":5: models.vit.arrivals.rate: nan is not a finite number"),
        (of("{kind: poisson, rate: 2/fortnight}"), ":5: models.vit.arrivals.rate: '2/fortnight' has an unknown unit"),
        (of("{kind: poisson, rate: !rate 2}"), ":5: models.vit.arrivals.rate: '2' cannot be read: could not determine"),
        (of("{kind: poisson, rate: !!bool maybe}"), ":5: models.vit.arrivals.rate: 'maybe' cannot be read"),
        (of("{kind: poisson, rate: !!float ''}"), ":5: models.vit.arrivals.rate: '' cannot be read"),
        (of("{kind: poisson, rate: 2020-13-45}"), ":5: models.vit.arrivals.rate: '2020-13-45' cannot be read: month"),
        (of("{kind: poisson, rate: true}"), ":5: models.vit.arrivals.rate: expected a rate, such as 20/s, not True"),
        (of("{kind: gamma, rate: 1, cv: 0}"), ":5: models.vit.arrivals.cv: 0 must be above 0"),
        (of("kind: gamma\n      rate: 1\n      cv: many"), ":7: models.vit.arrivals.cv: 'many' is not a number"),
        (
            of(
                "kind: steps\n      steps:\n      - {at: 0, rate: 1}\n"
                "      - {at: 9, rate: 1}\n      - {at: 5, rate: 1}"
            ),
            ":9: models.vit.arrivals.steps[2].at: 5 s must be after the step before it, at 9 s",
        ),
        (
            of("kind: modulated\n      states:\n      - {rate: 1, stay: 2}\n      - {rate: 1, stay: 0 s}"),
            ":8: models.vit.arrivals.states[1].stay: 0 must be above 0",
        ),
        (of("{kind: sum, parts: 3}"), ":5: models.vit.arrivals.parts: expected a list"),
        (of("{kind: replay}"), ":5: models.vit.arrivals: needs the field 'file'"),
        (of("{kind: replay, file: two.json}"), ":5: models.vit.arrivals: needs the field 'model', one of the 2"),
        (
            of("{kind: replay, file: two.json, model: model2}"),
            ":5: models.vit.arrivals.model: there is no model 'model2' in that file; did you mean 'model1'?",
        ),
        ("duration: 0 s\nmodels: {v: {arrivals: {kind: poisson, rate: 1}}}\n", ":1: duration: 0 must be above 0"),
        ("duration: 1\nseed: 1.5\nmodels: {}\n", ":2: seed: expected a whole number, not 1.5"),
        (
            "duration: 1\nseed: -1\nmodels: {v: {arrivals: {kind: poisson, rate: 1}}}\n",
            ":2: seed: -1 must be at least 0",
        ),
        ("duration: 1\nmodels: {}\n", ":2: models: needs at least one"),
        ("duration: 1\nmodels:\n  vit: {}\n", ":3: models.vit: needs the field 'arrivals', or a share"),
        (
            "duration: 1\nmodels:\n  v/t: {arrivals: {kind: poisson, rate: 1}}\n",
            ":3: models.v/t: 'v/t' cannot be the name",
        ),
        (
            "duration: 1\nmodels:\n  v: {slo: 0, arrivals: {kind: poisson, rate: 1}}\n",
            ":3: models.v.slo: 0 must be above 0",
        ),
        (
            "duration: 1\nmodels: {vit: {}}\n"
            "mixes:\n  m:\n    arrivals: {kind: poisson, rate: 1}\n    shares: {vti: 1}\n",
            ":6: mixes.m.shares.vti: there is no model 'vti' under 'models'; did you mean 'vit'?",
        ),
        ("models: {}\n", ":1: needs the field 'duration'"),
    ],
)
def test_a_typo_is_reported_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "two.json").write_text('{"model0": [[1]], "model1": [[1]]}')
    path = written(tmp_path, text)
    with pytest.raises(BadFile) as refused:
        load_workload(path)
    assert str(refused.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'duration = 9\n\n[models.vit.arrivals]\nkind = "poisson"\nrate = -2\n',
            ":5: models.vit.arrivals.rate: -2 must",
        ),
        (
            'duration = 9\n[models.vit]\narrivals = {kind = "poisson", rate = nan}\n',
            ":3: models.vit.arrivals.rate: nan is",
        ),
        (
            'duration = 9\n[models.vit.arrivals]\nkind = "steps"\n[[models.vit.arrivals.steps]]\nat = 0\nrate = 1\n'
            "[[models.vit.arrivals.steps]]\nat = 0\nrate = 2\n",
            ":8: models.vit.arrivals.steps[1].at: 0 s must be after the step before it",
        ),
        ("duration = \n", ":1: not TOML: Invalid value"),
        ("", ": is empty"),
    ],
)
def test_toml_has_lines_too(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text, "w.toml")
    with pytest.raises(BadFile) as refused:
        load_workload(path)
    assert str(refused.value).startswith(f"{path}{message}")


def test_states_may_name_where_they_lead(tmp_path: Path) -> None:
    text = of("kind: modulated\n      states:\n      - {rate: 0, stay: 9, moves: [0, 1]}\n      - {rate: 8, stay: 1}")
    found = load_workload(written(tmp_path, text)).models["vit"].arrivals
    assert found is not None
    assert found.states == (State(0.0, 9.0, (0.0, 1.0)), State(8.0, 1.0))  # type: ignore[union-attr]
