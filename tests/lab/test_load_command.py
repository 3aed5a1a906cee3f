"""`cutwater load` as it is typed, against a real server: what is counted, what is written, what is wrong."""

import csv
import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_bed import Gateway
from load_bed import Queueing, Stalling
from PIL import Image

from cutwater.cli.app import app
from cutwater.errors import (
    BadFile,
    BadPicture,
    BadQuantity,
    BadSetting,
    BadTensor,
    CutwaterError,
    InputError,
    LinkLost,
    NotFound,
    StageFailed,
)

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    made = Gateway("http")
    yield made
    made.close()


def load(*arguments: object) -> None:
    app(["load", *(str(each) for each in arguments)], standalone_mode=False)


def facts(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    load(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_figures_are_those_of_the_requests_one_by_one(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One model answers, one refuses, one fails; the raw file gives the same figures as the report."""
    (tmp_path / "w.yaml").write_text(
        "duration: 1 s\nmodels:\n"
        "  two_float32: {arrivals: {kind: gamma, rate: 400/s, cv: 2}, slo: 20 s}\n"
        "  full: {arrivals: {kind: constant, rate: 50/s}}\n"
        "  error: {arrivals: {kind: poisson, rate: 50/s}}\n"
    )
    with pytest.raises(StageFailed, match="divides by zero"):  # nobody would want a load of it
        load(tmp_path / "w.yaml", "--to", gateway.url)
    text = (tmp_path / "w.yaml").read_text().replace("  error:", "  crowded:")
    (tmp_path / "w.yaml").write_text(text)
    files = ("--csv", tmp_path / "a.csv", "--trace", tmp_path / "a.jsonl", "--svg", tmp_path / "a.svg")
    limits = ("--slo", "full=1 s", "--slo", "crowded=1 s", "--warmup", "0.25 s")
    found = facts(capsys, tmp_path / "w.yaml", "--to", gateway.url, "--seed", 5, *limits, *files)
    raw = rows(tmp_path / "a.csv")
    counted = [row for row in raw if row["counted"] == "1"]
    assert [float(row["due"]) >= 0.25 for row in raw] == [row["counted"] == "1" for row in raw]
    for model, told in found["models"].items():
        own = [row for row in counted if row["model"] == model]
        assert told["submitted"] == len(own) > 0
        results = [row["result"] for row in own]
        assert (told["answered"], told["refused"]) == (results.count("answered"), results.count("refused"))
    answers = found["models"]["two_float32"]
    latencies = sorted(float(row["ended"]) - float(row["due"]) for row in counted if row["model"] == "two_float32")
    assert len(latencies) == answers["submitted"] == answers["answered"]
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
        assert answers["percentiles"][name]["value"] == latencies[math.ceil(share * len(latencies)) - 1]
    assert answers["mean"]["value"] == pytest.approx(np.mean(latencies))
    full, together = found["models"]["full"], found["together"]
    assert (full["attainment"]["value"], full["goodput"], full["percentiles"]) == (0.0, 0.0, {})
    assert full["errors"] == {"Refused": full["refused"]}
    assert together["attainment"]["value"] == answers["answered"] / together["submitted"]
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines[0]["warmup"] == 0.25
    assert [line[3] for line in lines[1:]] == [float(row["ended"]) for row in raw]
    assert all(line[6] for line in lines[1:] if line[4] == "answered"), "the gateway named it"
    assert (tmp_path / "a.svg").read_text().startswith("<svg")


@pytest.mark.slow
@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_server_that_stalls_does_not_slow_the_schedule(
    door: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on only when every request has come: a sender that waited for answers would wait for ever.

    And each request that came meanwhile counts from when it was due, so its latency holds all of the stall.
    """
    count = 200
    backend = Stalling(first=21, until=count + 1)  # the first request of all is a trial
    stalled = Gateway(door, backend=backend)
    try:
        flags = ("--rate", "400/s", "--cv", 0, "--for", "0.5 s", "--model", "two_float32", "--warmup", 0)
        found = facts(capsys, "--to", stalled.url, *flags, "--slo", "50 ms", "--csv", tmp_path / "a.csv")
    finally:
        stalled.close()
    raw = rows(tmp_path / "a.csv")
    assert found["together"]["answered"] == len(raw) == count
    dues = [float(row["due"]) for row in raw]
    assert dues == [k / 400 for k in range(count)]
    last_sent = max(float(row["sent"]) for row in raw)
    held = raw[21:]
    assert all(float(row["ended"]) >= last_sent for row in held)
    assert all(float(row["latency"]) >= dues[-1] - float(row["due"]) for row in held)
    assert found["together"]["percentiles"]["p90"]["value"] >= dues[-1] - dues[20 + int(0.1 * count)]
    assert found["punctuality"]["most_open"] >= count - 21


@pytest.mark.slow
def test_an_interrupt_ends_early_with_the_report_of_what_was_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = Stalling(first=10**6, until=0)
    backend.on_asked = lambda count: os.kill(os.getpid(), signal.SIGINT) if count == 30 else None
    gateway = Gateway("http", backend=backend)
    try:
        flags = ("--rate", "300/s", "--for", "1 h", "--model", "two_float32", "--csv", tmp_path / "a.csv")
        found = facts(capsys, "--to", gateway.url, *flags, "--warmup", 0)
    finally:
        gateway.close()
    assert found["interrupted"]
    assert 29 <= found["together"]["submitted"] == len(rows(tmp_path / "a.csv")) < 300 * 3600
    assert found["together"]["answered"] == found["together"]["submitted"]
    assert found["duration"] == float(rows(tmp_path / "a.csv")[-1]["due"])


@pytest.mark.slow
def test_requests_that_nobody_answers_end_with_their_time_and_are_misses(capsys: pytest.CaptureFixture[str]) -> None:
    gateway = Gateway("http", backend=Stalling(first=1, until=10**6))
    try:
        flags = ("--rate", "100/s", "--cv", 0, "--for", "0.2 s", "--model", "two_float32", "--timeout", "300 ms")
        found = facts(capsys, "--to", gateway.url, *flags, "--slo", "100 ms", "--warmup", 0)["together"]
    finally:
        gateway.close()
    assert (found["submitted"], found["failed"], found["errors"]) == (20, 20, {"DeadlineExceeded": 20})
    assert found["attainment"]["value"] == 0
    assert found["mean"] is None


@pytest.mark.slow
def test_a_search_finds_no_more_than_a_server_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    """In the time and the SLO together it computes so many, and half of what comes may be late, on any machine."""
    service, slo, time = 0.004, 0.25, 0.25
    most = (time + slo) / service / 0.5 / time
    gateway = Gateway("http", backend=Queueing(service))
    flags = ("--rate", "300/s", "--cv", 0, "--for", f"{time} s", "--warmup", 0, "--slo", f"{slo} s")
    try:
        more = ("--model", "two_float32", "--find-rate", "50%", "--width", "50%", "--repeats", 1, "--json")
        load("--to", gateway.url, *flags, *more)
    finally:
        gateway.close()
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert 0 < found["value"] <= most
    assert found["value"] == found["kept"] * 300
    assert found["kept"] < found["broken"] <= found["kept"] * 1.5
    assert len(told.err.splitlines()) == len(found["tries"])
    assert "300/s: " in told.err


def test_a_report_says_what_came_how_fast_and_how_punctually(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--rate", "100/s", "--for", "0.1 s", "--warmup", 0, "--slo", "20 s", "--cv", 0)
    load("--to", gateway.url, *flags, "--model", "two_float32", "--model", "full")
    told = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in told.splitlines() if line.strip()}
    assert rows["full"][:4] == ["full", "20", "s", "0.00%"]  # of the last table
    assert rows["together"][3] not in ("0.00%", "100.00%")
    assert "Refused" in told
    assert "scheduled 100/s, sent 100/s; late by" in told


def test_payloads_come_from_files(gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    Image.new("RGB", (9, 7), (10, 20, 30)).save(tmp_path / "grey.png")
    gateway.backend.asked.clear()
    flags = ("--to", gateway.url, "--rate", "100/s", "--cv", 0, "--for", "0.1 s", "--warmup", 0)
    inputs = ("--input", f"two_float32={tmp_path / 'x.npy'}", "--input", tmp_path / "grey.png")
    found = facts(capsys, *flags, "--model", "two_float32", "--model", "pixels", *inputs)
    assert found["together"]["answered"] == 10
    asked = [ask.feeds["x"].ravel().tolist() for ask in gateway.backend.asked if ask.model == "two_float32"]
    assert asked == [[4.0 * (k % 3) + n for n in range(4)] for k in (0, *range(len(asked) - 1))]
    assert any(ask.model == "pixels" for ask in gateway.backend.asked)


RATE = ("--rate", "10/s", "--for", "0.1 s")


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        ((*RATE, "--model", "two_float3"), NotFound, "has no model 'two_float3'; did you mean 'two_float32'"),
        ((*RATE, "--model", "two_large"), BadTensor, "give one with --shape x="),
        ((*RATE, "--model", "two_float32", "--input", "nowhere"), BadFile, "nowhere: no such file"),
        ((*RATE, "--model", "two_float32", "--slo", "bert=1 s"), BadSetting, "asks no model 'bert'"),
        ((*RATE, "--model", "two_float32", "--slo", "soon"), BadQuantity, "'soon' is not a duration"),
        ((*RATE, "--model", "two_float32", "--warmup", "1 s"), BadQuantity, "shorter than the load"),
        ((*RATE, "--model", "two_float32", "--shape", "x"), InputError, "--shape x: write it as"),
        ((*RATE, "--model", "two_float32", "--find-rate", "99%"), BadSetting, "no SLO is known for two_float32"),
        ((*RATE, "--model", "two_float32", "--find-rate", "99", "--slo", "1 s"), BadQuantity, "such as 99%"),
        ((*RATE, "--model", "two_float32", "--cv", "-1"), BadQuantity, "--cv -1"),
        (("--rate", "0/s", "--model", "two_float32"), BadQuantity, "--rate 0"),
        (RATE, BadSetting, "give --model NAME"),
        (("--model", "two_float32"), BadSetting, "either a workload's file or --rate"),
        (("--mlperf", "Server", "--model", "two_float32"), BadSetting, "needs --rate"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    gateway: Gateway, flags: tuple[str, ...], error: type[CutwaterError], says: str
) -> None:
    with pytest.raises(error, match=says):
        load("--to", gateway.url, *flags)


def test_a_payload_that_does_not_fit_is_named(gateway: Gateway, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(BadTensor, match=r"x\.npy: holds float32 \[3, 5\].*wants float32 \[1 or more, 4\]"):
        load("--to", gateway.url, *RATE, "--model", "two_float32", "--input", tmp_path / "x.npy")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadPicture, match="does not take the first payload for 'pixels'"):
        load("--to", gateway.url, *RATE, "--model", "pixels", "--input", tmp_path / "broken.png")


def test_a_workload_names_line_and_field_of_what_is_wrong(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("duration: 1 s\nmodels:\n  two_float32: {arrivals: {kind: poisson, rate: -3/s}}\n")
    with pytest.raises(BadFile, match=r"w\.yaml:3: models\.two_float32\.arrivals\.rate"):
        load(tmp_path / "w.yaml", "--to", gateway.url)
    (tmp_path / "w.csv").write_text("model,timestamp\ntwo_float32,2\ntwo_float32,1\n")
    with pytest.raises(BadFile, match=r"w\.csv:3: "):
        load(tmp_path / "w.csv", "--to", gateway.url)
    (tmp_path / "w.csv").write_text("model,timestamp\nbert,0.1\n")
    with pytest.raises(NotFound, match=r"w\.csv: http.* has no model 'bert'"):
        load(tmp_path / "w.csv", "--to", gateway.url)
    (tmp_path / "w.yaml").write_text("duration: 1 s\nmodels:\n  bert: {arrivals: {kind: poisson, rate: 9/s}}\n")
    with pytest.raises(NotFound, match=r"w\.yaml:3: models\.bert: http.* has no model 'bert'"):
        load(tmp_path / "w.yaml", "--to", gateway.url)


def test_nobody_there_is_told_from_no_address() -> None:
    with pytest.raises(LinkLost, match=r"nobody answers at http://127\.0\.0\.1:9"):
        load("--to", "http://127.0.0.1:9", *RATE, "--model", "m")
    with pytest.raises(InputError, match="is no address of a gateway"):
        load("--to", "127.0.0.1", *RATE, "--model", "m")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "more"),
    [
        ("SingleStream", ()),
        ("MultiStream", ()),
        ("Offline", ("--rate", "2000/s")),
        ("Server", ("--rate", "1000/s", "--slo", "5 s")),
    ],
)
def test_loadgen_drives_and_its_summary_stands_beside_ours(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], scenario: str, more: tuple[str, ...]
) -> None:
    pytest.importorskip("mlperf_loadgen")
    flags = ("--to", gateway.url, "--mlperf", scenario, "--model", "two_float32", "--for", "0.3 s", *more)
    found = facts(capsys, *flags)
    assert found["summary"]["Scenario"] == scenario
    assert found["valid"] == (found["summary"]["Result is"] == "VALID")
    assert (found["failed"], found["requests"] >= 100) == (0, True)
