"""Where a request's time went: what an answer says of it, and what is read of that."""

import numpy as np
import pytest

from cutwater.api.backend import Answered
from cutwater.api.outputs import told_of
from cutwater.client.timing import Timing, timing_of
from cutwater.units import StageId
from cutwater.wire.message import Mark


def mark(name: str, received: float, started: float, finished: float) -> Mark:
    return Mark(StageId(name), received, started, finished, finished, 1, 0, 0, 0.0, 0.0)


def test_what_an_answer_says_is_what_is_read() -> None:
    trail = (mark("a", 1.0, 1.25, 1.5), mark("b", 70.0, 70.001, 70.5))  # each stage has a clock of its own
    said = dict(told_of(Answered("1-1", {"y": np.zeros(1)}, trail, False, waited=0.002)))["server-timing"]
    assert said == "queue;dur=2.000, wait-1;dur=250.000, stage-1;dur=250.000, wait-2;dur=1.000, stage-2;dur=499.000"
    timing = timing_of(said)
    assert timing == Timing(0.002, (0.25, 0.001), (0.25, 0.499))
    assert timing.told == pytest.approx(1.002)


def test_who_was_answered_without_stages_is_told_nothing() -> None:
    assert "server-timing" not in dict(told_of(Answered("1-1", {}, (), True)))


@pytest.mark.parametrize("text", ["", "queue;dur=3", "db;dur=53, app;dur=47.2", "stage;dur=1", "stage-1", "miss"])
def test_what_others_say_in_that_header_is_not_taken_for_ours(text: str) -> None:
    assert timing_of(text) is None


def test_what_a_proxy_adds_is_passed_over() -> None:
    assert timing_of('edge;desc="x";dur=9, stage-1;dur=5.5') == Timing(0.0, (0.0,), (0.0055,))
