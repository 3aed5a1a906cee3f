"""The server Cutwater starts: it keeps its port and store, knows its users, and says why it cannot start."""

import asyncio
import datetime
import ipaddress
from pathlib import Path

import msgspec
import nkeys
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_bed import story

from cutwater.errors import FabricError, FabricLost, Forbidden
from cutwater.fabric.base import Message
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.fabric.server import EmbeddedServer, ServerOptions, reload


def user(folder: Path, name: str, permissions: str = "") -> str:
    """One line of the users' list; the seed lies in ``folder/NAME.seed``."""
    seed = nkeys.encode_seed(name.encode().ljust(32, b"-"), nkeys.PREFIX_BYTE_USER)
    (folder / f"{name}.seed").write_bytes(bytes(seed))
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    return f"{{ nkey: {public} {permissions} }}"


def authorization(*users: str) -> str:
    return "authorization { users: [ " + ", ".join(users) + " ] }"


@pytest.mark.slow
@story
async def test_it_keeps_its_port_and_its_store(tmp_path: Path) -> None:
    server = EmbeddedServer(ServerOptions(home=tmp_path))
    async with server:
        first = server.url
        async with NatsFabric(NatsOptions(servers=(first,))) as fabric:
            await (await fabric.keys("b")).put("k", b"kept")
    async with server, NatsFabric(NatsOptions(servers=(first,))) as fabric:
        entry = await (await fabric.keys("b")).get("k")
        assert entry is not None
        assert entry.value == b"kept"


@pytest.mark.slow
@story
async def test_it_says_why_it_cannot_start(tmp_path: Path) -> None:
    async with EmbeddedServer(ServerOptions(home=tmp_path / "first")) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(FabricLost, match="address already in use"):
            await EmbeddedServer(ServerOptions(home=tmp_path / "second", port=port)).start()


@story
async def test_a_user_may_do_what_his_role_may(tmp_path: Path) -> None:
    limits = ', permissions: { publish: ["own.>"], subscribe: ["own.>", "_INBOX.>"], allow_responses: true }'
    options = ServerOptions(home=tmp_path, users=authorization(user(tmp_path, "boss"), user(tmp_path, "node", limits)))
    async with EmbeddedServer(options) as server:
        with pytest.raises(Forbidden, match="does not know this user"):
            await NatsFabric(NatsOptions(servers=(server.url,))).__aenter__()
        boss = NatsFabric(NatsOptions(servers=(server.url,), seed=tmp_path / "boss.seed"))
        node = NatsFabric(NatsOptions(servers=(server.url,), seed=tmp_path / "node.seed"))
        async with boss, node:
            await (await boss.keys("b")).put("k", b"v")
            with pytest.raises(Forbidden, match=r"(?i)stream\.info\.kv_b"):
                await node.keys("b")
            with pytest.raises(Forbidden):
                await node.request("ask.coordinator", b"")

            async def hear(message: Message) -> None:
                raise AssertionError(message)

            with pytest.raises(Forbidden, match=r"subscribe to beat\.>"):
                await node.subscribe("beat.>", hear)

            async def echo(message: Message) -> bytes:
                return b"here"

            await node.serve("own.door", echo)
            assert await boss.request("own.door", b"") == b"here"


@story
async def test_a_revoked_user_is_cut_off_and_one_who_is_taken_back_returns(tmp_path: Path) -> None:
    boss, node = user(tmp_path, "boss"), user(tmp_path, "node")
    everybody = ServerOptions(home=tmp_path, users=authorization(boss, node))
    without = msgspec.structs.replace(everybody, users=authorization(boss))
    async with EmbeddedServer(everybody) as server:
        changes: asyncio.Queue[bool] = asyncio.Queue()
        theirs: asyncio.Queue[bool] = asyncio.Queue()
        one = NatsFabric(NatsOptions(servers=(server.url,), seed=tmp_path / "node.seed"))
        other = NatsFabric(NatsOptions(servers=(server.url,), seed=tmp_path / "boss.seed"))
        async with one, other:
            one.on_change(changes.put_nowait)
            other.on_change(theirs.put_nowait)
            reload(without, server.pid)
            assert await changes.get() is False
            with pytest.raises(Forbidden):
                await NatsFabric(NatsOptions(servers=(server.url,), seed=tmp_path / "node.seed")).__aenter__()
            reload(everybody, server.pid)
            assert await changes.get() is True
            await one.publish("x", b"")
            assert theirs.empty(), "nobody else was disturbed"


def certificates(folder: Path, authority: str) -> NatsOptions:
    """An authority of its own, and one certificate of it that serves both ends; the URLs are left empty."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority)])

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey, ca: bool) -> bytes:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(authority_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    folder.mkdir()
    (folder / "ca.pem").write_bytes(build(issuer, authority_key.public_key(), True))
    end = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "end")])
    (folder / "end.pem").write_bytes(build(end, key.public_key(), False))
    (folder / "end.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return NatsOptions(servers=(), ca=folder / "ca.pem", certificate=folder / "end.pem", key=folder / "end.key")


@story
async def test_only_certificates_of_the_cluster_get_in(tmp_path: Path) -> None:
    ours, foreign = certificates(tmp_path / "ours", "ours"), certificates(tmp_path / "foreign", "foreign")
    options = ServerOptions(home=tmp_path / "home", certificate=ours.certificate, key=ours.key, ca=ours.ca)
    async with EmbeddedServer(options) as server:
        assert server.url.startswith("tls://")
        replace = msgspec.structs.replace
        async with NatsFabric(replace(ours, servers=(server.url,))) as fabric:
            await fabric.publish("x", b"")
        stranger = replace(foreign, servers=(server.url,), ca=ours.ca)
        naked = NatsOptions(servers=(server.url,), ca=ours.ca)
        deceived = replace(foreign, servers=(server.url,))
        for refused in (stranger, naked, deceived):
            with pytest.raises(FabricError):
                await NatsFabric(refused).__aenter__()
