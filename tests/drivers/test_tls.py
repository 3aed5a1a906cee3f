"""Who is revoked while a listener listens gets in no more; whoever is turned away is counted, with the reason."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cutwater.drivers import connect
from cutwater.drivers.connect import dial, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.loop import run
from cutwater.drivers.refusals import CERTIFICATE, GREETING, TLS, TOKEN, Refusals
from cutwater.drivers.sockets import split_address
from cutwater.drivers.tls import TlsFiles
from cutwater.errors import CutwaterError, InputError, LinkLost, Refused
from cutwater.fabric.authority import Authority, Role
from cutwater.fabric.secret_files import write_secret
from cutwater.wire.message import PROTOCOL, Hello, Message

HELLO = Hello(PROTOCOL, "secret", "end", 4, 2**20)


class End:
    """An owner that does nothing."""

    def __init__(self) -> None:
        self.cork = Cork()

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None: ...

    def lost(self, link: Link, reason: str) -> None: ...

    def paused(self, link: Link) -> None: ...

    def resumed(self, link: Link) -> None: ...


class Members:
    """Files of members of one cluster."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority.create(folder, folder.name)
        self.revoke()

    def revoke(self, *serials: int) -> None:
        write_secret(self.authority.folder / "revocations", self.authority.revocations(serials))

    def files(self, name: str, serial: int, days: float = 1.0) -> TlsFiles:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        made = self.authority.issue(Role.NODE, name, until, serial)
        base = self.authority.folder / name
        base.with_suffix(".pem").write_bytes(made.certificate)
        base.with_suffix(".key").write_bytes(made.key)
        paths = (self.authority.ca, base.with_suffix(".pem"), base.with_suffix(".key"))
        return TlsFiles(*map(str, paths), revocations=str(self.authority.folder / "revocations"))


@asynccontextmanager
async def door(files: TlsFiles) -> AsyncIterator[tuple[str, Refusals]]:
    refusals = Refusals()
    listener = await listen("tcp:127.0.0.1:0", HELLO, End(), files, refusals=refusals)
    try:
        yield listener.address, refusals
    finally:
        listener.close()


async def outcome(address: str, files: TlsFiles | None, hello: Hello = HELLO) -> type[CutwaterError] | None:
    try:
        (await dial(address, hello, End(), files)).close()
    except CutwaterError as error:
        return type(error)
    return None


def in_loop(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()

    run(limited())


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(tmp_path / "ours")


def test_a_member_gets_in_until_it_is_revoked(members: Members) -> None:
    async def story() -> None:
        guest, other = members.files("guest", 2), members.files("other", 3)
        async with door(members.files("host", 1)) as (address, refusals):
            assert await outcome(address, guest) is None
            members.revoke(2)
            assert await outcome(address, guest) is LinkLost
            assert await outcome(address, other) is None
            assert refusals.counts == {CERTIFICATE: 1}

    in_loop(story)


def test_the_one_who_dials_checks_revocations_as_well(members: Members) -> None:
    async def story() -> None:
        guest = members.files("guest", 2)
        async with door(members.files("host", 1)) as (address, _):
            members.revoke(1)
            assert await outcome(address, guest) is LinkLost

    in_loop(story)


def test_strangers_are_told_apart(members: Members, tmp_path: Path) -> None:
    async def story() -> None:
        foreign = Members(tmp_path / "theirs").files("guest", 2)
        deceived = TlsFiles(str(members.authority.ca), foreign.certificate, foreign.key)
        guest = members.files("guest", 2)
        async with door(members.files("host", 1)) as (address, refusals):
            assert await outcome(address, deceived) is LinkLost
            assert refusals.counts == {CERTIFICATE: 1}
            assert await outcome(address, members.files("late", 4, days=-1.0)) is LinkLost
            assert refusals.counts == {CERTIFICATE: 2}
            assert await outcome(address, None) is LinkLost
            assert refusals.counts == {CERTIFICATE: 2, TLS: 1}
            assert await outcome(address, guest, Hello(PROTOCOL, "guessed", "end", 4, 2**20)) is Refused
            assert refusals.counts == {CERTIFICATE: 2, TLS: 1, TOKEN: 1}
            assert GREETING not in refusals.counts

    in_loop(story)


def test_a_list_that_cannot_be_read_leaves_the_last_in_force(members: Members) -> None:
    async def story() -> None:
        guest, other = members.files("guest", 2), members.files("other", 3)
        async with door(members.files("host", 1)) as (address, _):
            members.revoke(2)
            assert await outcome(address, guest) is LinkLost
            (members.authority.folder / "revocations").unlink()
            plain = TlsFiles(guest.ca, guest.certificate, guest.key)
            assert await outcome(address, plain) is LinkLost
            assert await outcome(address, TlsFiles(other.ca, other.certificate, other.key)) is None

    in_loop(story)
    with pytest.raises(InputError, match="revocations"):
        members.files("late", 9).server()


def test_many_refusals_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for number in range(1000):
        refusals.note(TOKEN, f"stranger {number}")
    assert refusals.counts == {TOKEN: 1000}
    assert 1 <= len(caplog.records) < 5


def test_who_connects_and_says_nothing_of_tls_is_shown_the_door(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "GREETING_TIMEOUT", 0.1)

    async def story() -> None:
        async with door(members.files("host", 1)) as (address, _):
            _, host, port = split_address(address)
            reader, writer = await asyncio.open_connection(host, port)
            assert await reader.read() == b""
            writer.close()

    in_loop(story)
