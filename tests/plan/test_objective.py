"""Objectives are text that people write, and numbers that solvers make small."""

import pytest

from cutwater.errors import BadQuantity
from cutwater.plan.objective import Objective, parse_objective, waiting


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("latency", Objective("latency")),
        ("throughput", Objective("throughput")),
        ("throughput@latency<=50ms", Objective("throughput", latency_bound=0.05)),
        ("latency@rate=20", Objective("latency", rate=20.0)),
        (" latency@rate = 20/s ", Objective("latency", rate=20.0)),
    ],
)
def test_text_becomes_an_objective(text: str, objective: Objective) -> None:
    assert parse_objective(text) == objective
    assert parse_objective(str(objective)) == objective


@pytest.mark.parametrize(
    "text", ["speed", "latency@latency<=5ms", "throughput@rate=3", "latency@rate=-3", "latency@rate=x"]
)
def test_what_is_no_objective_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadQuantity, match=r"latency@rate=20|above zero"):
        parse_objective(text)


def test_a_queue_at_half_load_waits_half_a_service_time() -> None:
    assert waiting(rate=50.0, seconds=0.01) == pytest.approx(0.005)
    assert waiting(rate=100.0, seconds=0.01) == float("inf")
