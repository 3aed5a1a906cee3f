"""Log lines can be read by people and by machines, say which request they are about, and do not flood."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from endings import answered, failed

from cutwater.observe.access import MOST, AccessLog
from cutwater.observe.logs import CALM, KNOWN, Damper, hush, make_lines


def lines(log_format: str, record: logging.LogRecord) -> str:
    return make_lines(log_format, "gateway-1").format(record)


def record(message: str, *values: object, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("cutwater.x")
    made = logger.makeRecord(logger.name, logging.WARNING, __file__, 1, message, values, None, extra=extra)
    made.created, made.msecs = 1.7e9 + 0.25, 250.0
    return made


def test_a_json_line_has_who_when_what_and_about_what() -> None:
    text = lines("json", record("%d of %s", 3, "vit", request="7-1", model="vit", seconds=0.25, way=("a", "b")))
    assert json.loads(text) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "WARNING",
        "logger": "cutwater.x",
        "process": "gateway-1",
        "message": "3 of vit",
        "request": "7-1",
        "model": "vit",
        "seconds": 0.25,
        "way": ["a", "b"],
    }


def test_a_text_line_says_the_same() -> None:
    text = lines("text", record("%d of %s", 3, "vit", request="7-1", model="vit"))
    assert text == "2023-11-14T22:13:20.250Z WARNING cutwater.x: 3 of vit request=7-1 model=vit"


def test_an_error_stays_on_its_line() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        made = record("it broke")
        made.exc_info = sys.exc_info()
    text = lines("json", made)
    assert "\n" not in text
    assert json.loads(text)["error"].endswith("ValueError: no\nway")
    assert lines("text", made).endswith("ValueError: no\nway")


def test_whatever_a_client_calls_its_request_stays_in_its_field() -> None:
    for evil in ("x\n2023-11-14T22:13:20Z CRITICAL all is lost", "a b", "half a \udc80 character", ""):
        made = record("answered", id=evil)
        assert "\n" not in lines("text", made)
        lines("text", made).encode()
        assert json.loads(lines("json", made))["id"] == evil.encode("utf-8", "backslashreplace").decode()


def test_what_is_no_json_becomes_text() -> None:
    said = json.loads(lines("json", record("odd", what=ValueError("x"), time="not yours")))
    assert said["what"] == "x"
    assert said["time"].startswith("2023")


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What goes to the access log, as JSON lines."""
    logger, stream = logging.getLogger("cutwater.access"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(make_lines("json", "gateway-1"))
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_failures_are_told_and_answers_only_to_those_who_look_closely(said: io.StringIO) -> None:
    access, logger = AccessLog(), logging.getLogger("cutwater.access")
    logger.setLevel(logging.INFO)
    access.observe(answered())
    access.observe(failed())
    (line,) = parsed(said)
    del line["time"]
    assert line == {
        "level": "INFO",
        "logger": "cutwater.access",
        "process": "gateway-1",
        "message": "Refused: the queue is full, after 10 ms",
        "request": "7-2",
        "model": "vit",
        "client": "native:1",
        "door": "grpc",
        "id": "mine",
        "outcome": "Refused",
        "seconds": 0.01,
    }
    logger.setLevel(logging.DEBUG)
    access.observe(answered(degraded=True))
    assert parsed(said)[1]["level"] == "DEBUG"
    assert parsed(said)[1]["degraded"] is True


def test_a_storm_of_failures_is_counted_not_told(said: io.StringIO) -> None:
    access = AccessLog()
    logging.getLogger("cutwater.access").setLevel(logging.INFO)
    for k in range(1000):
        access.observe(failed()._replace(ended=1000.0 + k / 1000))
    assert len(parsed(said)) == MOST
    access.observe(failed()._replace(ended=1001.5))
    told, last = parsed(said)[MOST:]
    assert told["unsaid"] == 1000 - MOST
    assert last["message"].startswith("Refused")


def test_what_the_loop_repeats_without_meaning_is_kept_out(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("asyncio")
    before = list(logger.filters)
    hush()
    try:
        logger.warning("returning true from eof_received() has no effect when using ssl")
        logger.warning("something that matters")
    finally:
        logger.filters[:] = before
    assert [each.message for each in caplog.records] == ["something that matters"]


def at(moment: float, message: str, **extra: object) -> logging.LogRecord:
    made = record(message, **extra)
    made.created = moment
    return made


def test_a_line_that_comes_again_and_again_is_said_once_in_a_while() -> None:
    damper = Damper()
    said = [moment for moment in range(100) if damper.filter(at(moment, "cannot lead: the fabric is away"))]
    assert said == [0, CALM, 2 * CALM, 3 * CALM]
    again = at(4 * CALM, "cannot lead: the fabric is away")
    assert damper.filter(again) and lines("text", again).endswith("away repeated=9")
    assert damper.filter(at(4 * CALM, "leads again")), "something else is said at once"


def test_lines_about_requests_are_never_taken_for_each_other() -> None:
    damper = Damper()
    assert all(damper.filter(at(k, "answered", request=f"7-{k}")) for k in range(5))


def test_ever_other_lines_fill_no_memory() -> None:
    damper = Damper()
    assert all(damper.filter(at(k / 1000, f"line {k}")) for k in range(2 * KNOWN))
    assert damper.filter(at(1.0, "line 0")), "it was forgotten"
    assert not damper.filter(at(1.0, f"line {2 * KNOWN - 1}"))
