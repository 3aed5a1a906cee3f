"""An address to listen on is read, and claimed or refused with a word on what to change."""

import socket

import pytest

from cutwater.api.where import Where, claim, parse_where
from cutwater.errors import BadSetting


def test_addresses_are_read() -> None:
    assert parse_where("http", "127.0.0.1:8000") == Where("127.0.0.1", 8000)
    assert parse_where("http", "[::1]:8000+") == Where("::1", 8000, True)
    assert parse_where("http", ":8000").local
    assert not parse_where("http", "0.0.0.0:8000").local


@pytest.mark.parametrize("wrong", ["8000", "host:", "host:http", "host:70000", "host:-1", ""])
def test_what_is_no_address_is_named(wrong: str) -> None:
    with pytest.raises(BadSetting, match="http:"):
        parse_where("http", wrong)


def test_a_port_that_is_taken_is_refused_or_passed_over() -> None:
    with claim("http", Where("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match="choose another port"):
            claim("http", Where("127.0.0.1", port))
        with claim("http", Where("127.0.0.1", port, True)) as following:
            assert following.getsockname()[1] > port
            with socket.create_connection(following.getsockname()):
                pass
