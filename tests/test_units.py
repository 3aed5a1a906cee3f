"""Quantities read from text mean what people mean, and what cannot be read says how to write it."""

import pytest

from cutwater.errors import BadQuantity
from cutwater.units import (
    RequestId,
    format_bandwidth,
    format_bytes,
    format_flops,
    format_rate,
    format_request,
    format_seconds,
    parse_bandwidth,
    parse_bytes,
    parse_rate,
    parse_request,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "bytes_"), [("512 MiB", 512 * 2**20), ("1.5GB", 1_500_000_000), ("17", 17), (64, 64), ("1e3 kB", 10**6)]
)
def test_sizes(text: str | int, bytes_: int) -> None:
    assert parse_bytes(text) == bytes_


@pytest.mark.parametrize(
    ("text", "rate"), [("20/s", 20.0), ("1200 /min", 20.0), ("7.2e3/h", 2.0), ("3", 3.0), (5, 5.0)]
)
def test_rates(text: str | float, rate: float) -> None:
    assert parse_rate(text) == rate
    assert [format_rate(each) for each in (20.0, 0.05, 0.001, 0.0)] == ["20/s", "3/min", "3.6/h", "0/h"]


def test_a_rate_per_something_else_says_how_to_write_it() -> None:
    with pytest.raises(BadQuantity, match="write it like '20/s'"):
        parse_rate("3/week")


@pytest.mark.parametrize(("text", "rate"), [("20 Mbit/s", 2.5e6), ("1 GB/s", 1e9), ("8kbit", 1000.0), (5.0, 5.0)])
def test_bandwidths(text: str | float, rate: float) -> None:
    assert parse_bandwidth(text) == rate


@pytest.mark.parametrize(("text", "seconds"), [("2 ms", 0.002), ("150us", 150e-6), ("10 min", 600.0), (3, 3.0)])
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("parse", [parse_bytes, parse_bandwidth, parse_seconds])
@pytest.mark.parametrize("text", ["", "fast", "-3 MB", "20 furlongs", "nan s"])
def test_what_cannot_be_read_is_named_with_an_example(parse: object, text: str) -> None:
    with pytest.raises(BadQuantity, match=r"like|one of"):
        parse(text)  # type: ignore[operator]


def test_quantities_are_written_for_people() -> None:
    assert format_bytes(1536) == "1.5 KiB"
    assert format_seconds(0.0123) == "12.3 ms"
    assert format_seconds(float("nan")) == "-"
    assert format_flops(2.1e9) == "2.1 GFLOP"
    assert format_bandwidth(2.5e6) == "20 Mbit/s"


def test_requests_are_printed_so_that_they_can_be_asked_for() -> None:
    assert format_request(RequestId(0x5C1F03AA_0000002A)) == "5c1f03aa-42"
    assert parse_request("42") == 42
    for request in (RequestId(1), RequestId((1 << 63) - 1)):
        assert parse_request(format_request(request)) == request


@pytest.mark.parametrize("text", ["", "forty", "5c1f03aa-", "5c1f03aa-4294967296", "g-1"])
def test_what_is_no_request_says_how_one_looks(text: str) -> None:
    with pytest.raises(BadQuantity, match="5c1f03aa-42"):
        parse_request(text)
