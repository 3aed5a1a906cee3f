"""`cutwater workload` as it is typed: from a description to arrivals, to figures, to a fit, to more of it."""

import json
from pathlib import Path

import pytest

from cutwater.cli.workload import app
from cutwater.errors import BadFile, BadQuantity, CutwaterError, InputError
from cutwater.workload.files import load_workload
from cutwater.workload.recordings import load_schedule

DESCRIPTION = """\
duration: 200 s
models:
  vit:
    arrivals: {kind: gamma, rate: 20/s, cv: 3}
    slo: 250 ms
  bert:
    arrivals: {kind: poisson, rate: 600/min}
"""


@pytest.fixture
def described(tmp_path: Path) -> Path:
    (tmp_path / "w.yaml").write_text(DESCRIPTION)
    return tmp_path / "w.yaml"


def workload(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


def facts(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    workload(*arguments, "--json")
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_arrivals_are_made_and_are_what_show_counts(
    described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = facts(capsys, "make", described, "-o", tmp_path / "a.json")
    shown = facts(capsys, "show", described)
    again = facts(capsys, "show", tmp_path / "a.json", "--svg", tmp_path / "a.svg")
    assert made["requests"] == shown["together"]["requests"] == again["together"]["requests"]  # type: ignore[index]
    vit, bert = shown["models"]["vit"], shown["models"]["bert"]  # type: ignore[index]
    assert (vit["kind"], vit["expected_rate"], vit["slo"]) == ("gamma", 20.0, 0.25)
    assert (bert["kind"], bert["expected_rate"], bert["slo"]) == ("poisson", 10.0, None)
    assert abs(bert["dispersion"]["1.0"] - 1) < 0.5
    assert again["models"]["vit"]["cv"] == vit["cv"]  # type: ignore[index]
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    workload("show", described)
    table = capsys.readouterr().out
    assert "dispersion in 10 s" in " ".join(table.split())
    assert "together" in table


@pytest.mark.slow
def test_a_fit_describes_arrivals_and_scaling_multiplies_them(
    described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload("make", described, "-o", tmp_path / "a.csv", "--seed", 3)
    workload("fit", tmp_path / "a.csv", "--window", "100 s", "-o", tmp_path / "fit.yaml")
    workload("scale", tmp_path / "fit.yaml", "--rate", 2, "-o", tmp_path / "more.yaml")
    workload("scale", tmp_path / "a.csv", "--rate", 2, "--window", "100 s", "-o", tmp_path / "at_once.yaml")
    fitted, more = load_workload(tmp_path / "fit.yaml"), load_workload(tmp_path / "more.yaml")
    assert more == load_workload(tmp_path / "at_once.yaml")
    for model in ("vit", "bert"):
        before, after = fitted.models[model].arrivals, more.models[model].arrivals
        assert after.rates == tuple(2 * rate for rate in before.rates)  # type: ignore[union-attr]
    workload("scale", described, "--cv", 0.5, "--seed", 9, "-o", tmp_path / "even.json")
    assert load_schedule(tmp_path / "even.json").times.keys() == {"vit", "bert"}


def test_functions_of_a_trace_become_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"a,f{k},{k + 10.5},0.5\n" for k in range(6))
    (tmp_path / "trace.csv").write_text("app,func,end_timestamp,duration\n" + rows)
    dealt = ("convert", tmp_path / "trace.csv", "--from", "11 s", "--for", "3 s", "--stripe", "vit, bert")
    assert facts(capsys, *dealt, "-o", tmp_path / "a.json")["requests"] == 3
    found = load_schedule(tmp_path / "a.json")
    assert {model: times.tolist() for model, times in found.times.items()} == {"vit": [1.0], "bert": [0.0, 2.0]}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("show", "none.yaml"), BadFile, "none.yaml: cannot be read"),
        (("make", "w.yaml", "-o", "a.yaml"), InputError, "arrivals go to .json or .csv, descriptions to .yaml"),
        (("make", "w.yaml", "-o", "a.txt"), BadFile, "arrivals are written as .json or .csv"),
        (("fit", "w.yaml", "-o", "a.yaml", "--window", "0 s"), BadQuantity, "--window 0 s: give a time above 0"),
        (("scale", "w.yaml", "-o", "a.yaml", "--rate", "-1"), BadQuantity, "rate: -1 is no factor to scale by"),
        (("convert", "w.yaml", "-o", "a.csv", "--from", "300 s"), BadQuantity, "are no part of a schedule of 200 s"),
    ],
)
def test_what_cannot_be_done_says_why(
    described: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    kind: type[CutwaterError],
    message: str,
) -> None:
    monkeypatch.chdir(described.parent)
    with pytest.raises(kind) as refused:
        workload(*arguments)
    assert message in str(refused.value)
