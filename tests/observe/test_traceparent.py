"""A request's own span: under its client's, or a trace of its own, or not recorded."""

import random

import pytest

from cutwater.observe.traceparent import Sampler, Traceparent, parse_traceparent

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SAMPLED = f"00-{TRACE:032x}-{SPAN:016x}-01"


def test_it_reads_what_it_writes() -> None:
    assert parse_traceparent(SAMPLED) == Traceparent(TRACE, SPAN, True)
    assert str(Traceparent(TRACE, SPAN, True)) == SAMPLED
    assert str(Traceparent(TRACE, SPAN, False)) == SAMPLED[:-1] + "0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        SAMPLED + "-more",
        SAMPLED.upper(),
        " " + SAMPLED,
        "ff" + SAMPLED[2:],
        f"00-{0:032x}-{SPAN:016x}-01",
        f"00-{TRACE:032x}-{0:016x}-01",
        SAMPLED.replace("4bf9", "bf9"),
        SAMPLED.replace("4", "g"),
        SAMPLED + "\n",
    ],
)
def test_what_is_none_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


def test_a_later_version_may_say_more() -> None:
    assert parse_traceparent("01" + SAMPLED[2:] + "-more") == Traceparent(TRACE, SPAN, True)


def test_a_client_that_traces_decides_and_others_are_a_share() -> None:
    never, always, some = (Sampler(share, random.Random(1)) for share in (0.0, 1.0, 0.25))
    own = parse_traceparent(never.begin(SAMPLED))
    assert own is not None and own.sampled and own.trace == TRACE and own.span != SPAN
    assert always.begin(SAMPLED[:-1] + "0") == "", "its client does not record it"
    assert never.begin("") == never.begin("nonsense") == ""
    spans = [parse_traceparent(always.begin("")) for _ in range(100)]
    assert len({(span.trace, span.span) for span in spans if span is not None}) == 100
    assert 200 < sum(some.begin("") != "" for _ in range(1000)) < 300
