"""Who does not belong is refused with a clear error, logged and counted; whoever belongs notices nothing."""

import asyncio
import datetime
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from secured import ELSEWHERE, LARGEST, MODEL, PATIENCE, Secured, command

from cutwater.drivers.connect import dial
from cutwater.drivers.cork import Cork
from cutwater.drivers.links import Link
from cutwater.drivers.loop import run
from cutwater.drivers.tls import TlsFiles
from cutwater.errors import BadBlob, BadInvitation, FabricLost, Forbidden, FrameError, InputError, LinkLost, Refused
from cutwater.fabric.authority import Authority, Role, new_serial
from cutwater.fabric.invitation import read_invitation, write_invitation
from cutwater.fabric.permissions import new_seed
from cutwater.services.access import fabric_of, tls_of
from cutwater.services.cluster import joining
from cutwater.services.cluster.joining import knock, settle
from cutwater.services.gateway.client import NativeClient
from cutwater.services.home import Home
from cutwater.settings.settings import FabricSettings
from cutwater.units import RequestId, check_name
from cutwater.wire.frames import encode
from cutwater.wire.message import PROTOCOL, Hello, Infer, Message, TensorSpec

pytestmark = pytest.mark.slow
Story = Callable[[], Coroutine[Any, Any, None]]


def told(story: Story) -> None:
    """Never let it hang."""

    async def within_limit() -> None:
        async with asyncio.timeout(3 * PATIENCE):
            await story()

    run(within_limit())


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Knocker:
    """Owns links that should never open."""

    def __init__(self) -> None:
        self.cork = Cork()
        self.opened_ = False

    def opened(self, link: Link) -> None:
        self.opened_ = True

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None: ...

    def lost(self, link: Link, reason: str) -> None: ...

    def paused(self, link: Link) -> None: ...

    def resumed(self, link: Link) -> None: ...


def hello(deployment: str) -> Hello:
    return Hello(PROTOCOL, deployment, "knocker", 1, 2**20)


def foreign(folder: Path, cluster: Secured) -> FabricSettings:
    """A member of another cluster, who knows where this one is and takes its server for the right one."""
    folder.mkdir()
    authority = Authority.create(folder / "authority", "elsewhere")
    made = authority.issue(Role.NODE, "pi-x", now() + datetime.timedelta(days=1), new_serial())
    for name, data in (("pem", made.certificate), ("key", made.key), ("seed", new_seed().encode())):
        (folder / name).write_bytes(data)
    return FabricSettings(
        url=cluster.url,
        ca=cluster.membership.folder / "ca.pem",
        certificate=folder / "pem",
        key=folder / "key",
        seed=folder / "seed",
    )


def open_ports(cluster: Secured) -> set[int]:
    """Where processes of the cluster listen for other machines."""
    return {
        connection.laddr.port
        for record in cluster.home.alive().values()
        for process in family(record.pid)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip.removeprefix("::ffff:") != "127.0.0.1"
    }


def test_without_an_invitation_nothing_off_loopback_answers(cluster: Secured) -> None:
    """Every TCP port of every process of the cluster is tried from another address."""
    ports = open_ports(cluster)
    assert len(ports) >= 5, "the fabric, and of each node a worker and the place where links are measured"

    async def story() -> None:
        for port in ports:
            strict = ssl.create_default_context(cafile=cluster.membership.folder / "ca.pem")
            strict.check_hostname = False
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                reader, writer = await asyncio.open_connection(ELSEWHERE, port, ssl=strict)
                writer.write(b"PING\r\n")
                raise_for(await reader.read(100))
            try:
                reader, writer = await asyncio.open_connection(ELSEWHERE, port)
            except ConnectionRefusedError:
                assert port not in open_ports(cluster)  # a worker's that has ended since
                continue
            writer.write(b"CONNECT {}\r\nPING\r\n")
            # The fabric says that it wants TLS, and nothing else; nobody else says anything but an alert of TLS.
            answer = await reader.read(65536)
            assert not answer.partition(b"\r\n")[2].startswith(b"PONG")
            assert b"tls_required" in answer or len(answer) < 10
            writer.close()
        for record in ("node-1", "node-2"):
            assert await cluster.refused(record, "tls") >= 1
            assert await cluster.refused(record, "certificate") >= 1

    told(story)


def family(pid: int) -> list[psutil.Process]:
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def raise_for(answer: bytes) -> None:
    """An end that closes instead of answering has refused as well."""
    if not answer or answer.startswith(b"INFO"):
        raise ConnectionResetError("closed")


def test_a_certificate_of_another_cluster_is_refused_by_the_fabric(cluster: Secured, tmp_path: Path) -> None:
    async def story() -> None:
        before = await cluster.count("fabric", "certificate")
        with pytest.raises(FabricLost, match="cannot connect"):
            await fabric_of(foreign(tmp_path / "x", cluster), "pi-x").__aenter__()
        await cluster.refused("fabric", "certificate", before)

    told(story)


def test_a_certificate_of_another_cluster_is_refused_by_a_worker(cluster: Secured, tmp_path: Path) -> None:
    async def story() -> None:
        tls = tls_of(foreign(tmp_path / "x", cluster))
        address, token = await cluster.worker_address("node-1")
        before, knocker = await cluster.count("node-1", "certificate"), Knocker()
        with pytest.raises(LinkLost):
            await dial(address, hello(token), knocker, tls)
        assert not knocker.opened_, "even who knows the token"
        await cluster.refused("node-1", "certificate", before)

    told(story)


def test_whoever_is_deceived_about_the_server_finds_out(cluster: Secured, tmp_path: Path) -> None:
    """An invitation to another cluster, used here: it is the member who refuses."""

    async def story() -> None:
        path = cluster.invite("pi-y")
        invitation = read_invitation(path, now())
        other = Authority.create(tmp_path / "other", "elsewhere")
        made = other.issue(Role.NODE, "pi-y", now() + datetime.timedelta(days=1), new_serial())
        replaced = msgspec.structs.replace(
            invitation,
            cluster="elsewhere",
            ca=other.ca.read_text(),
            certificate=made.certificate.decode(),
            key=made.key.decode(),
            revocations=other.revocations(()).decode(),
        )
        write_invitation(tmp_path / "pi-y.toml", replaced)
        read = read_invitation(tmp_path / "pi-y.toml", now())
        with pytest.raises(BadInvitation, match="does not belong to elsewhere"):
            await knock(read, settle(Home(tmp_path / "home"), read))

    told(story)


def test_a_wrong_nkey_is_refused(cluster: Secured, tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "seed").write_text(new_seed())
        before = await cluster.count("fabric", "user")
        access = msgspec.structs.replace(cluster.access("node-1"), seed=tmp_path / "seed")
        with pytest.raises(Forbidden, match="does not know this user"):
            await fabric_of(access, "node-1").__aenter__()
        await cluster.refused("fabric", "user", before)

    told(story)


def test_a_member_that_oversteps_its_role_is_refused(cluster: Secured) -> None:
    async def story() -> None:
        before = await cluster.count("fabric", "permission")
        async with cluster.fabric("node-1") as node:
            with pytest.raises(Forbidden, match="may not"):
                await node.request("ask.coordinator", b"")
        await cluster.refused("fabric", "permission", before)

    told(story)


def test_a_revoked_member_is_cut_off_everywhere(cluster: Secured, tmp_path: Path) -> None:
    path = cluster.invite("pi-r")
    home = Home(tmp_path / "home")
    said = command(home.folder, "node", "join", path, "--speed", 1, "--memory", "1GiB", "--listen", ELSEWHERE)
    assert said["pid"] is not None

    async def story() -> None:
        invitation = read_invitation(path, now())
        access = settle(home, invitation)
        tls = tls_of(access)
        assert tls is not None
        address, token = await cluster.worker_address("node-1")
        link = await dial(address, hello(token), Knocker(), tls)
        link.close()
        seen = await cluster.overview()
        assert seen.cluster is not None
        assert "pi-r" in [node.announcement.node for node in seen.cluster.nodes]

        changes: asyncio.Queue[bool] = asyncio.Queue()
        async with fabric_of(access, "pi-r") as fabric:
            fabric.on_change(changes.put_nowait)
            said = await asyncio.to_thread(command, cluster.home.folder, "node", "revoke", "pi-r")
            assert said["trouble"] == ""
            assert await changes.get() is False, "cut off at once"
        before = await cluster.count("fabric", "user")
        with pytest.raises(BadInvitation, match="revoked"):
            await knock(invitation, access)
        await cluster.refused("fabric", "user", before)

        knocker = Knocker()
        with pytest.raises(LinkLost):
            await dial(address, hello(token), knocker, tls)
        assert not knocker.opened_
        await rolled_over(token)
        seen = await cluster.overview()
        assert seen.cluster is not None
        assert "pi-r" not in [node.announcement.node for node in seen.cluster.nodes]

    async def rolled_over(token: str) -> None:
        while True:
            try:
                _, fresh = await cluster.worker_address("node-1")
            except ValueError:  # two epochs at once
                fresh = token
            if fresh != token:
                return
            await cluster.beat()

    try:
        told(story)
        error = command(tmp_path / "again", "node", "join", path, fails=True)
        assert error["kind"] == "BadInvitation"
        assert "revoked" in error["message"]
        error = command(cluster.home.folder, "node", "invite", "pi-r", "--server", ELSEWHERE, fails=True)
        assert "for good" in error["message"]
    finally:
        command(home.folder, "down")


def test_an_invitation_that_ran_out_is_refused_by_both_sides(cluster: Secured, tmp_path: Path) -> None:
    path = cluster.invite("pi-o")
    invitation = read_invitation(path, now())
    with pytest.raises(BadInvitation, match="ran out"):
        read_invitation(path, now() + datetime.timedelta(days=366))

    async def story() -> None:
        authority = Authority.open(cluster.membership.folder)
        made = authority.issue(Role.NODE, "pi-o", now() - datetime.timedelta(minutes=1), new_serial())
        (tmp_path / "pem").write_bytes(made.certificate)
        (tmp_path / "key").write_bytes(made.key)
        tls = TlsFiles(str(authority.ca), str(tmp_path / "pem"), str(tmp_path / "key"))
        address, token = await cluster.worker_address("node-2")
        before = await cluster.count("node-2", "certificate")
        with pytest.raises(LinkLost):
            await dial(address, hello(token), Knocker(), tls)
        await cluster.refused("node-2", "certificate", before)

    assert invitation.name == "pi-o"
    told(story)


def test_a_worker_of_another_deployment_gets_no_frame_in(cluster: Secured) -> None:
    async def story() -> None:
        address, _ = await cluster.worker_address("node-2")
        before, knocker = await cluster.count("node-2", "token"), Knocker()
        with pytest.raises(Refused, match="another deployment"):
            await dial(address, hello("the token of another one"), knocker, tls_of(cluster.access("node-1")))
        assert not knocker.opened_
        await cluster.refused("node-2", "token", before)

        # One that does not wait to be let in: its frame is all that the worker reads of it.
        tls = tls_of(cluster.access("node-1"))
        assert tls is not None
        before = await cluster.count("node-2", "frame")
        host, port = address.removeprefix("tcp:").rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls.client())
        tensor = TensorSpec("x", "uint8", (8192,), 8192)
        frame = encode(Infer(RequestId(1), 1, 1.0, (), "plain", "plain", (tensor,)), [bytes(8192)])
        writer.writelines(frame)
        assert await reader.read() == b"", "it closes without a word"
        await cluster.refused("node-2", "frame", before)

    told(story)


def test_a_client_over_the_size_limit_is_refused(cluster: Secured) -> None:
    async def story() -> None:
        address = cluster.home.alive()["gateway"].facts["socket"]
        before = await cluster.count("gateway", "frame")
        large = {"pictures": np.zeros((1, 3, 1024, 1024), "float32")}
        async with NativeClient(address, MODEL) as client:
            with pytest.raises(FrameError, match=f"accepts at most {LARGEST} bytes"):
                await client.infer(large)

        # One that does not keep to what it was told.
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        writer.writelines(encode(Hello(PROTOCOL, f"model:{MODEL}", "rude", 1, 2**20), []))
        await reader.read(1)
        tensor = TensorSpec("pictures", "uint8", (2 * LARGEST,), 2 * LARGEST)
        frame = encode(Infer(RequestId(1), 1, 1.0, (), "plain", "plain", (tensor,)), [bytes(2 * LARGEST)])
        writer.writelines(frame)
        assert b"FrameError" in await reader.read()
        writer.close()
        await cluster.refused("gateway", "frame", before)

    told(story)


def test_a_blob_with_a_wrong_hash_is_refused(cluster: Secured, tmp_path: Path) -> None:
    """Somebody who may store blobs stores other bytes under a hash; a node that is to run it does not."""
    hash = "ab" * 32

    async def story() -> None:
        async with cluster.fabric() as operator:
            await operator.blobs.find(hash)
            stream = operator.blobs._line.jetstream
            await stream.publish(f"blob.{hash}.0", b"not what it says")
            await stream.publish(
                f"blob.{hash}.manifest", msgspec.json.encode({"hash": hash, "nbytes": 16, "chunk": 16})
            )
            with pytest.raises(BadBlob, match="with hash"):
                await operator.blobs.fetch(hash, tmp_path / "blob")
        await cluster.assign("node-2", hash)

    told(story)
    assert "with hash" in cluster.log("node-2")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
    assert not (cluster.home.data("node-2") / hash).exists()


@pytest.mark.parametrize("path", ["../../../tmp/evil", "/etc/passwd", "a" * 63 + "/", "AB" * 32])
def test_a_path_is_no_blob(cluster: Secured, path: str) -> None:
    async def story() -> None:
        async with cluster.fabric() as operator:
            with pytest.raises(BadBlob, match="64"):
                await operator.blobs.fetch(path, Path("/nonexistent/x"))
        await cluster.assign("node-1", path)
        assert "64" in cluster.log("node-1")

    told(story)


@pytest.mark.parametrize("name", ["..", "../pi", "a/b", "a.b", "pi a", ">", "*", "", "-pi", "x" * 64, "pi\n"])
def test_a_path_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        check_name("node", name)


def test_commands_take_no_path_for_a_name(cluster: Secured, tmp_path: Path) -> None:
    for words in (
        ("node", "invite", "../pi", "--server", ELSEWHERE, "-o", tmp_path / "x"),
        ("node", "revoke", "../pi"),
        ("deploy", "../vit"),
        ("node", "drain", "../node-1"),
    ):
        error = command(cluster.home.folder, *words, fails=True)
        assert error["kind"] in ("InputError", "NotFound"), words
    assert list(tmp_path.iterdir()) == []


def test_a_home_is_not_joined_twice(cluster: Secured, tmp_path: Path) -> None:
    invitation = read_invitation(cluster.invite("pi-h"), now())
    with pytest.raises(InputError, match="home of a cluster of its own"):
        joining.settle(cluster.home, invitation)
    joining.settle(Home(tmp_path / "home"), invitation)
    other = read_invitation(cluster.invite("pi-i"), now())
    with pytest.raises(InputError, match="belongs to"):
        joining.settle(Home(tmp_path / "home"), other)
