"""Each role does its work on a real server, and is refused everything else, at once and with the subject's name."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from fabric_bed import NatsBed, story

from cutwater.errors import BadFile, Forbidden
from cutwater.fabric.authority import Role
from cutwater.fabric.base import Fabric, Message
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions
from cutwater.fabric.permissions import (
    LEASES,
    REVOCATIONS,
    STATE,
    User,
    authorization,
    inbox_of_file,
    new_seed,
    public_of,
)
from cutwater.fabric.server import ServerOptions

MEMBERS = {
    "coordinator-1": Role.COORDINATOR,
    "pi-a": Role.NODE,
    "pi-b": Role.NODE,
    "door": Role.GATEWAY,
    "laptop": Role.CLIENT,
}


class Cluster:
    """A server that knows one user of each role."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        users = []
        for name, role in MEMBERS.items():
            seed = new_seed()
            (folder / name).write_text(seed)
            users.append(User(role, name, public_of(seed)))
        self.bed = NatsBed(ServerOptions(home=folder / "nats", users=authorization(users)))

    def of(self, name: str) -> NatsFabric:
        seed = self.folder / name
        return NatsFabric(NatsOptions(servers=(self.bed.url,), seed=seed, inbox=inbox_of_file(seed), name=name))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    asyncio.run(cluster.bed.restart())
    yield cluster
    cluster.bed.end(15)


async def hear(message: Message) -> None:
    raise AssertionError(f"heard {message}")


async def echo(message: Message) -> bytes:
    return message.data


@pytest.mark.slow
@story
async def test_a_node_does_its_work(cluster: Cluster, tmp_path: Path) -> None:
    async with cluster.of("pi-a") as node, cluster.of("coordinator-1") as boss:
        # It may come first, and then makes the buckets.
        state, leases = await node.keys(STATE), await node.keys(LEASES, ttl=3.0)
        theirs = await boss.keys(STATE)
        assert await leases.get("node.pi-a") is None
        revision = await leases.create("node.pi-a", b"mine")
        revision = await leases.update("node.pi-a", b"still mine", revision)
        found = await leases.get("node.pi-a")
        assert found is not None
        assert found.value == b"still mine"
        await state.put("node.pi-a", b"here I am")
        await state.put("link.pi-a.pi-b", b"fast")
        async with state.watch("assign.pi-a") as assigned, leases.watch("node.pi-a") as leased:
            await theirs.put("assign.pi-a", b"work")
            assert (await anext(assigned)).value == b"work"
            assert (await anext(leased)).value == b"still mine"
        assert set(await theirs.entries()) >= {"node.pi-a", "link.pi-a.pi-b", "assign.pi-a"}
        await leases.delete("node.pi-a")
        await theirs.put(REVOCATIONS, b"nobody")
        assert set(await state.entries(REVOCATIONS)) == {REVOCATIONS}

        beats: asyncio.Queue[Message] = asyncio.Queue()
        await boss.subscribe("beat.node.*", beats.put)
        await node.publish("beat.node.pi-a", b"alive")
        assert await beats.get() == Message("beat.node.pi-a", b"alive")
        await node.serve("ask.node.pi-a", echo)
        assert await boss.request("ask.node.pi-a", b"well?") == b"well?"
        stored = await boss.blobs.put(b"a stage" * 50_000)
        assert await node.blobs.fetch(stored.hash, tmp_path / "stage") == stored


@pytest.mark.slow
@story
async def test_a_gateway_and_a_client_do_their_work(cluster: Cluster, tmp_path: Path) -> None:
    async with cluster.of("coordinator-1") as boss, cluster.of("door") as gateway, cluster.of("laptop") as client:
        state = await gateway.keys(STATE)
        leases = await gateway.keys(LEASES, ttl=3.0)
        await leases.create("gateway.door", b"mine")
        await (await boss.keys(STATE)).put("routes.door.resnet", b"left, then right")
        assert set(await state.entries("routes.door.*")) == {"routes.door.resnet"}
        async with state.watch("routes.door.>") as tables:
            assert (await anext(tables)).key == "routes.door.resnet"
        beats: asyncio.Queue[Message] = asyncio.Queue()
        await boss.subscribe("beat.gateway.*", beats.put)
        await gateway.publish("beat.gateway.door", b"alive")
        await beats.get()
        notes: asyncio.Queue[Message] = asyncio.Queue()
        await gateway.subscribe("notes", notes.put)
        await boss.publish("notes", b"pi-b is lost")
        assert await notes.get() == Message("notes", b"pi-b is lost")
        await boss.serve("ask.coordinator", echo)
        assert await client.request("ask.coordinator", b"status") == b"status"
        assert await gateway.request("ask.coordinator", b"plan") == b"plan"
        model = await client.blobs.put(b"a model" * 50_000)
        assert await client.blobs.find(model.hash) == model
        assert await gateway.blobs.fetch(model.hash, tmp_path / "model") == model


Deed = Callable[[Fabric], Awaitable[object]]


def put(bucket: str, key: str) -> Deed:
    async def deed(fabric: Fabric) -> None:
        keys = await fabric.keys(bucket, ttl=3.0 if bucket == LEASES else None)
        await keys.put(key, b"forged")

    return deed


def get(bucket: str, key: str) -> Deed:
    async def deed(fabric: Fabric) -> None:
        keys = await fabric.keys(bucket, ttl=3.0 if bucket == LEASES else None)
        await keys.get(key)

    return deed


def follow(bucket: str, pattern: str) -> Deed:
    async def deed(fabric: Fabric) -> None:
        keys = await fabric.keys(bucket, ttl=3.0 if bucket == LEASES else None)
        async with keys.watch(pattern):
            pass

    return deed


DEEDS: list[tuple[str, str, Deed]] = [
    ("pi-a", "write another node's lease", put(LEASES, "node.pi-b")),
    ("pi-a", "take the coordinator's lease", put(LEASES, "coordinator")),
    ("pi-a", "announce another node", put(STATE, "node.pi-b")),
    ("pi-a", "measure another node's links", put(STATE, "link.pi-b.pi-a")),
    ("pi-a", "assign work", put(STATE, "assign.pi-b")),
    ("pi-a", "assign itself work", put(STATE, "assign.pi-a")),
    ("pi-a", "route", put(STATE, "routes.door.resnet")),
    ("pi-a", "read tokens from routes", follow(STATE, "routes.>")),
    ("pi-a", "read another node's tokens", get(STATE, "assign.pi-b")),
    ("pi-a", "watch everything", follow(STATE, ">")),
    ("pi-a", "command", lambda fabric: fabric.request("ask.coordinator", b"revoke pi-b", 1.0)),
    ("door", "revoke or drain", lambda fabric: fabric.request("ask.operator", b"revoke pi-b", 1.0)),
    ("laptop", "revoke or drain", lambda fabric: fabric.request("ask.operator", b"revoke pi-b", 1.0)),
    ("pi-a", "ask another node", lambda fabric: fabric.request("ask.node.pi-b", b"words", 1.0)),
    ("pi-a", "answer for another node", lambda fabric: fabric.serve("ask.node.pi-b", echo)),
    ("pi-a", "answer for the coordinator", lambda fabric: fabric.serve("ask.coordinator", echo)),
    ("pi-a", "listen to others' answers", lambda fabric: fabric.subscribe("_INBOX.>", hear)),
    ("pi-a", "listen to all", lambda fabric: fabric.subscribe(">", hear)),
    ("pi-a", "store blobs", lambda fabric: fabric.blobs.put(b"other weights")),
    ("pi-a", "remove blobs", lambda fabric: fabric.blobs.delete("0" * 64)),
    ("pi-a", "make buckets", lambda fabric: fabric.keys("other")),
    ("pi-a", "make queues", lambda fabric: fabric.queue("work")),
    ("door", "assign work", put(STATE, "assign.pi-a")),
    ("door", "read another gateway's tokens", follow(STATE, "routes.back.*")),
    ("door", "answer for the coordinator", lambda fabric: fabric.serve("ask.coordinator", echo)),
    ("laptop", "read the state", lambda fabric: fabric.keys(STATE)),
    ("laptop", "ask a node", lambda fabric: fabric.request("ask.node.pi-a", b"words", 1.0)),
    ("pi-a", "listen to notes", lambda fabric: fabric.subscribe("notes", hear)),
    ("laptop", "listen to notes", lambda fabric: fabric.subscribe("notes", hear)),
    ("laptop", "listen to beats", lambda fabric: fabric.subscribe("beat.>", hear)),
]


@pytest.mark.parametrize(("who", "what", "deed"), DEEDS, ids=[f"{who}: {what}" for who, what, _ in DEEDS])
def test_a_member_may_not(cluster: Cluster, who: str, what: str, deed: Deed) -> None:
    @story
    async def refused() -> None:
        async with cluster.of("coordinator-1") as boss:
            await boss.keys(STATE)
            await boss.keys(LEASES, ttl=3.0)
        async with cluster.of(who) as fabric:
            with pytest.raises(Forbidden, match="may not"):
                await deed(fabric)
            assert fabric.connected, "the connection goes on"

    refused()


@story
async def test_a_beat_in_another_nodes_name_reaches_nobody(cluster: Cluster) -> None:
    beats: asyncio.Queue[Message] = asyncio.Queue()
    async with cluster.of("coordinator-1") as boss, cluster.of("pi-a") as node:
        await boss.subscribe("beat.node.*", beats.put)
        await node.publish("beat.node.pi-b", b"forged")
        await node.publish("beat.node.pi-a", b"own")
        assert await beats.get() == Message("beat.node.pi-a", b"own")


def test_a_seed_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seed").write_text("SUAMXYZ")
    with pytest.raises(BadFile, match="seed"):
        inbox_of_file(tmp_path / "seed")
    with pytest.raises(BadFile, match="cannot be read"):
        inbox_of_file(tmp_path / "nowhere")
