"""What Prometheus is told agrees with what the gateway's machine recorded of the same requests."""

import urllib.request
from collections import Counter

import numpy as np
import pytest
import tritonclient.http as triton
from prometheus_client.parser import text_string_to_metric_families
from served import MODEL, Served
from tritonclient.utils import InferenceServerException

from cutwater.drivers.tracefile import read_trace
from cutwater.engine.trace import Step
from cutwater.engine.vocabulary import Complete, Fail, Launch, Received
from cutwater.wire.message import Answer

pytestmark = pytest.mark.slow

NEARLY = 1e-6
"""Sums of differences of clocks."""


def scraped(served: Served) -> dict[str, list[tuple[dict[str, str], float]]]:
    with urllib.request.urlopen(f"{served.http}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def recorded(served: Served) -> tuple[Counter[str], list[Answer]]:
    """Commands of the gateway's machine by kind, and the answers that completed requests."""
    (path,) = [path for path in served.traces.iterdir() if MODEL in path.name and path.suffix != ".1"]
    commands: Counter[str] = Counter()
    answers: list[Answer] = []
    for step in read_trace(path):
        if not isinstance(step, Step):
            continue
        commands.update(type(command).__name__ for command in step.commands)
        completes = any(isinstance(command, Complete) for command in step.commands)
        if completes and isinstance(step.event, Received) and isinstance(step.event.message, Answer):
            answers.append(step.event.message)
    return commands, answers


def test_the_figures_are_those_of_the_trace(served: Served) -> None:
    client = triton.InferenceServerClient(served.http.removeprefix("http://"))
    wanted = triton.InferInput("pictures", [1, 3, 64, 64], "FP32")
    wanted.set_data_from_numpy(np.ones((1, 3, 64, 64), np.float32))
    for _ in range(50):
        client.infer(MODEL, [wanted])
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, [wanted], timeout=1)

    figures = scraped(served)
    outcomes: Counter[str] = Counter()
    for labels, value in figures["cutwater_requests_total"]:
        outcomes["answered" if labels["outcome"] == "answered" else "not"] += int(value)
    commands, answers = recorded(served)
    while commands[Complete.__name__] < outcomes["answered"]:
        commands, answers = recorded(served)  # it is written twice a second
    assert commands[Complete.__name__] == len(answers) == outcomes["answered"] >= 50
    assert commands[Fail.__name__] <= outcomes["not"]  # the others were withdrawn
    assert commands[Launch.__name__] >= len(answers)

    for stage in ("stage-1", "stage-2"):
        computed = [mark.finished - mark.started for each in answers for mark in each.trail if mark.stage == stage]
        (total,) = (v for labels, v in figures["cutwater_stage_compute_seconds_sum"] if labels["stage"] == stage)
        (count,) = (v for labels, v in figures["cutwater_stage_compute_seconds_count"] if labels["stage"] == stage)
        assert count == len(computed) == len(answers)
        assert total == pytest.approx(sum(computed), abs=NEARLY)
