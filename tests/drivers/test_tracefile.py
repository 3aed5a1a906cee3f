"""A trace on disk is bounded, says when its beginning is gone, and replays as long as it is not."""

import pytest

from cutwater.drivers.tracefile import TraceFile, older, read_trace
from cutwater.engine.gateway.gateway import Gateway
from cutwater.engine.replay import replay
from cutwater.engine.trace import Birth, Step
from cutwater.engine.vocabulary import Asked
from cutwater.errors import BadFile
from cutwater.units import RequestId


def record(path, requests, limit=2**20):
    """A gateway without ways, asked again and again."""
    trace, machine = TraceFile(path, limit), Gateway()
    trace.begin("gateway", machine)
    for number in range(requests):
        event = Asked(RequestId(number), 30.0)
        trace.append(0.001 * number, "gateway", event, machine.handle(event, 0.001 * number))
    trace.close()
    return trace


def test_what_was_written_is_read_and_replays(tmp_path):
    record(tmp_path / "t.jsonl", 3)
    first, *steps = read_trace(tmp_path / "t.jsonl")
    assert isinstance(first, Birth) and (first.kind, first.whole) == ("Gateway", True)
    assert [step.event.request for step in steps] == [0, 1, 2]
    assert replay(read_trace(tmp_path / "t.jsonl")).steps == 3


def test_two_halves_of_a_trace_are_read_as_one(tmp_path):
    path = tmp_path / "t.jsonl"
    record(path, 100)
    record(path, 100, limit=int(1.5 * path.stat().st_size))
    assert older(path).exists()
    found = replay(read_trace(path))
    assert (found.steps, found.machines, found.difference) == (100, 1, None)


def test_a_trace_whose_beginning_is_gone_is_bounded_and_says_so(tmp_path):
    path = tmp_path / "t.jsonl"
    limit = 20_000
    record(path, 2000, limit=limit)
    assert path.stat().st_size + older(path).stat().st_size <= limit + 500
    steps = [line for line in read_trace(path) if isinstance(line, Step)]
    assert steps[-1].event.request == 1999
    with pytest.raises(BadFile, match="does not begin at its beginning"):
        replay(read_trace(path))


def test_a_line_cut_off_by_a_kill_is_left_out_and_a_wrong_one_is_named(tmp_path):
    path = tmp_path / "t.jsonl"
    record(path, 3)
    path.write_bytes(path.read_bytes()[:-5])
    assert replay(read_trace(path)).steps == 2
    path.write_bytes(b'{"who": 3}\n')
    with pytest.raises(BadFile, match="line 1: this is no line of a trace"):
        list(read_trace(path))


def test_a_trace_of_an_unknown_machine_is_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"who":"x","kind":"Oracle"}\n')
    with pytest.raises(BadFile, match="of the kind 'Oracle'"):
        replay(read_trace(path))
