"""Two ends of a link in one loop, over real sockets: what is sent comes, who does not belong is refused."""

import asyncio
import contextlib
import datetime
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cutwater.drivers.connect import dial, listen
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import UNREAD, Link
from cutwater.drivers.loop import run
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.sockets import split_address
from cutwater.drivers.tls import TlsFiles
from cutwater.errors import FrameError, InputError, LinkLost, NotFound, Refused
from cutwater.units import RequestId
from cutwater.wire.frames import encode
from cutwater.wire.message import PROTOCOL, Answer, Credit, Failure, Hello, Message, TensorSpec

MIB = 2**20


class End:
    """An owner that keeps what it is told."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.frames: asyncio.Queue[tuple[Message, list[bytes]]] = asyncio.Queue()
        self.losses: asyncio.Queue[str] = asyncio.Queue()
        self.pauses: list[str] = []

    def opened(self, link: Link) -> None:
        self.links.put_nowait(link)

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        self.frames.put_nowait((message, [bytes(buffer) for buffer in buffers]))

    def lost(self, link: Link, reason: str) -> None:
        self.losses.put_nowait(reason)

    def paused(self, link: Link) -> None:
        self.pauses.append("paused")

    def resumed(self, link: Link) -> None:
        self.pauses.append("resumed")


def hello(name: str, deployment: str = "d1", max_frame: int = 8 * MIB) -> Hello:
    return Hello(PROTOCOL, deployment, name, 4, max_frame)


@asynccontextmanager
async def pair(
    address: str,
    tls: TlsFiles | None = None,
    memory: int = MEMORY,
    mine: Hello | None = None,
    theirs: Hello | None = None,
) -> AsyncIterator[tuple[Link, End, End, str]]:
    """A link from here to there: its end here, both owners, and where it leads."""
    here, there = End(), End()
    listener = await listen(address, theirs or hello("stage-1"), there, tls, memory)
    try:
        link = await dial(listener.address, mine or hello("gateway"), here, tls, memory)
        yield link, here, there, listener.address
        link.close()
        await there.losses.get()
    finally:
        listener.close()


def in_loop(story: Callable[[], object]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story()  # type: ignore[misc]

    run(limited())


Way = tuple[str, TlsFiles | None, int]


@pytest.fixture(params=["shared memory", "little shared memory", "unix", "tcp", "mtls"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    match request.param:
        case "tcp" | "mtls":
            return "tcp:127.0.0.1:0", certificates(tmp_path) if request.param == "mtls" else None, MEMORY
        case kind:
            return f"unix:{tmp_path}/s", None, {"shared memory": MEMORY, "little shared memory": MIB, "unix": 0}[kind]


def answer_of(size: int) -> Answer:
    return Answer(RequestId(1), 1, "plain", (TensorSpec("x", "uint8", (size,), size),), ())


def test_small_and_large_frames_come_whole_and_in_order(way: Way) -> None:
    async def story() -> None:
        async with pair(*way) as (link, _, there, _):
            payloads = [bytes([k]) * size for k, size in enumerate((0, 10, 3 * MIB, 70_000, 1))]
            for payload in payloads:
                link.send(answer_of(len(payload)), [payload])
            link.send(Credit(3))
            for payload in payloads:
                assert await there.frames.get() == (answer_of(len(payload)), [payload])
            assert await there.frames.get() == (Credit(3), [])

    in_loop(story)


def test_both_ends_know_what_the_other_said_of_itself(way: Way) -> None:
    async def story() -> None:
        async with pair(*way) as (link, _, there, address):
            answering = await there.links.get()
            assert (link.peer, link.address) == (hello("stage-1"), address)
            assert (answering.peer, answering.address) == (hello("gateway"), None)

    in_loop(story)


def test_a_ping_comes_back_and_costs_what_it_carries() -> None:
    async def story() -> None:
        async with pair("tcp:127.0.0.1:0") as (link, _, _, _):
            before = link.sent_bytes
            assert await link.ping(pad=MIB) > 0
            assert MIB < link.sent_bytes - before < MIB + 100

    in_loop(story)


def test_more_than_the_peer_takes_at_once_pauses_and_resumes() -> None:
    async def story() -> None:
        async with pair("tcp:127.0.0.1:0") as (link, here, there, _):
            for _ in range(6):
                link.send(answer_of(7 * MIB), [bytes(7 * MIB)])
            for _ in range(6):
                await there.frames.get()
            assert here.pauses == ["paused", "resumed"]

    in_loop(story)


def test_a_frame_over_the_peers_limit_is_refused_before_it_is_sent() -> None:
    async def story() -> None:
        async with pair("tcp:127.0.0.1:0", theirs=hello("stage-1", max_frame=1000)) as (link, _, there, _):
            with pytest.raises(FrameError, match=r"stage-1, which accepts at most 1000 bytes.*send less at once"):
                link.send(answer_of(1000), [bytes(1000)])
            link.send(Credit(1))
            assert await there.frames.get() == (Credit(1), [])

    in_loop(story)


def test_a_frame_over_the_limit_from_a_peer_who_sends_it_anyway_closes_that_link_only() -> None:
    async def story() -> None:
        async with pair("tcp:127.0.0.1:0", theirs=hello("stage-1", max_frame=2000)) as (link, _, there, address):
            stranger = await raw(address)
            await speak(stranger, hello("rogue"))
            await speak(stranger, answer_of(4000), bytes(4000))
            assert "this end accepts 2000" in await there.losses.get()
            link.send(Credit(1))
            assert await there.frames.get() == (Credit(1), [])
            stranger.close()

    in_loop(story)


def test_who_sends_a_frame_over_the_limit_is_told_so_while_still_sending() -> None:
    async def story() -> None:
        here, there = End(), End()
        listener = await listen("tcp:127.0.0.1:0", hello("gateway", max_frame=2000), there)
        # This end takes larger frames than that one, and was told a larger limit than holds.
        link = await dial(listener.address, hello("client"), here)
        assert link.peer is not None
        link.peer = hello("gateway", max_frame=8 * MIB)
        link.send(answer_of(7 * MIB), [bytes(7 * MIB)])
        told, _ = await here.frames.get()
        assert isinstance(told, Failure)
        assert (told.request, told.kind) == (0, "FrameError")
        assert "this end accepts 2000" in told.message
        assert await there.losses.get() == told.message
        link.close()
        await here.losses.get()
        assert there.losses.empty()
        listener.close()

    in_loop(story)


def test_a_doorman_decides_who_comes_in_and_what_a_stranger_is_told() -> None:
    def admit(stranger: Hello) -> Hello:
        if stranger.deployment != "model:cats":
            raise NotFound(f"there is no {stranger.deployment}")
        return Hello(PROTOCOL, stranger.deployment, "gateway", 7, MIB)

    async def story() -> None:
        here, there = End(), End()
        listener = await listen("tcp:127.0.0.1:0", hello("gateway", "nobody's"), there, admit=admit)
        link = await dial(listener.address, hello("client", "model:cats"), here)
        assert link.peer == Hello(PROTOCOL, "model:cats", "gateway", 7, MIB)
        with pytest.raises(NotFound, match="there is no model:dogs"):
            await dial(listener.address, hello("client", "model:dogs"), here)
        link.close()
        await there.losses.get()
        listener.close()

    in_loop(story)


def test_noise_closes_the_link_it_came_by_and_no_other() -> None:
    async def story() -> None:
        async with pair("tcp:127.0.0.1:0") as (link, _, there, address):
            stranger = await raw(address)
            await speak(stranger, hello("rogue"))
            await asyncio.get_running_loop().sock_sendall(stranger, b"GET / HTTP/1.1\r\n\r\n" * 10)
            assert "not a frame" in await there.losses.get()
            link.send(Credit(2))
            assert await there.frames.get() == (Credit(2), [])
            stranger.close()

    in_loop(story)


def test_another_deployment_is_refused_and_learns_nothing() -> None:
    async def story() -> None:
        here, there = End(), End()
        listener = await listen("tcp:127.0.0.1:0", hello("stage-1", "d1"), there)
        with pytest.raises(Refused, match="another deployment"):
            await dial(listener.address, hello("gateway", "d2"), here)
        assert there.links.empty() and here.links.empty()
        listener.close()

    in_loop(story)


def test_another_protocol_is_refused() -> None:
    async def story() -> None:
        listener = await listen("tcp:127.0.0.1:0", hello("stage-1"), End())
        with pytest.raises(Refused, match=f"speaks protocol 99, this end {PROTOCOL}"):
            await dial(listener.address, Hello(99, "d1", "gateway", 4, MIB), End())
        listener.close()

    in_loop(story)


def test_a_stranger_may_not_send_more_than_a_greeting() -> None:
    async def story() -> None:
        listener = await listen("tcp:127.0.0.1:0", hello("stage-1"), End())
        stranger = await raw(listener.address)
        await speak(stranger, answer_of(5000), bytes(5000))
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            heard = await asyncio.get_running_loop().sock_recv(stranger, 1)
        assert heard == b""
        stranger.close()
        listener.close()

    in_loop(story)


def test_a_peer_that_ends_within_a_frame_is_lost_and_so_are_pings() -> None:
    async def story() -> None:
        async with pair("tcp:127.0.0.1:0") as (_, _, there, address):
            stranger = await raw(address)
            await speak(stranger, hello("rogue"))
            await there.links.get()
            rogue = await there.links.get()
            ping = asyncio.create_task(rogue.ping())
            whole = b"".join(encode(answer_of(100), [bytes(100)]))
            await asyncio.get_running_loop().sock_sendall(stranger, whole[:-1])
            stranger.shutdown(socket.SHUT_WR)
            assert "1 bytes before the end of a Answer" in await there.losses.get()
            with pytest.raises(LinkLost):
                await ping
            stranger.close()

    in_loop(story)


def test_nobody_there_is_a_lost_link(tmp_path: Path) -> None:
    async def story() -> None:
        for address in (f"unix:{tmp_path}/none", "tcp:127.0.0.1:1"):
            with pytest.raises(LinkLost, match="no connection to"):
                await dial(address, hello("gateway"), End())

    in_loop(story)


@pytest.mark.parametrize("address", ["tcp:127.0.0.1:99999", f"tcp:{'a' * 300}.b:1", "unix:/run/\0"])
def test_where_nobody_can_be_is_a_lost_link_too(address: str) -> None:
    async def story() -> None:
        with pytest.raises(LinkLost, match="no connection to"):
            await dial(address, hello("gateway"), End())

    in_loop(story)


def test_without_a_certificate_of_the_same_authority_there_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    ours, others = certificates(tmp_path), certificates(tmp_path / "other")

    async def story() -> None:
        there = End()
        listener = await listen("tcp:127.0.0.1:0", hello("stage-1"), there, ours)
        for theirs in (others, TlsFiles(ours.ca, others.certificate, others.key)):
            with pytest.raises(LinkLost):
                await dial(listener.address, hello("gateway"), End(), theirs)
        assert there.links.empty()
        listener.close()

    in_loop(story)


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pem"):
        TlsFiles(str(tmp_path / "none.pem"), "c", "k").client()


@pytest.mark.parametrize("address", ["", "unix:", "tcp:host", "tcp::1", "http:host:1", "tcp:host:p"])
def test_an_address_that_cannot_be_read_is_an_input_error(address: str) -> None:
    with pytest.raises(InputError, match="is not an address"):
        split_address(address)


async def raw(address: str) -> socket.socket:
    """A bare connection, for those who do not keep to the protocol."""
    _, host, port = split_address(address)
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, port))
    return sock


async def speak(sock: socket.socket, message: Message, *buffers: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, b"".join(encode(message, buffers)))


def certificates(folder: Path) -> TlsFiles:
    """A new authority, and one certificate signed by it, for both ends."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, "authority", authority_key, ca=True)
    member = _certificate("member", key, "authority", authority_key, ca=False)
    files = TlsFiles(str(folder / "ca.pem"), str(folder / "member.pem"), str(folder / "member.key"))
    Path(files.ca).write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    Path(files.certificate).write_bytes(member.public_bytes(serialization.Encoding.PEM))
    Path(files.key).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def test_who_pings_and_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    async def story() -> None:
        async with pair(f"unix:{tmp_path}/s") as (link, _, there, _):
            answering = await there.links.get()
            for _ in range(2 * UNREAD):
                await link.ping()  # who reads may ask as often as it likes
            answering.pause_writing()  # as when nothing of what was sent is read
            pings = [asyncio.create_task(link.ping()) for _ in range(UNREAD + 1)]
            reason = await there.losses.get()
            assert f"{UNREAD} pings came" in reason
            there.losses.put_nowait(reason)  # for the end of the story
            outcomes = await asyncio.gather(*pings, return_exceptions=True)
            assert isinstance(outcomes[-1], LinkLost)

    in_loop(story)
