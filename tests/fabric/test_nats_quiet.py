"""An outage of the server is told once when it begins, and once when it is over, however often it is dialled."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest
from fabric_bed import NatsBed, story

from cutwater.errors import FabricLost, Forbidden
from cutwater.fabric import nats_line
from cutwater.fabric.nats import NatsFabric
from cutwater.fabric.nats_line import NatsOptions


@pytest.mark.slow
@story
async def test_an_outage_is_told_once(
    nats_bed: NatsBed, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_line, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(nats_line, "LONGEST_WAIT", 0.001)
    caplog.set_level(logging.INFO, "cutwater.fabric")
    dialled, enough, back = 0, asyncio.Event(), asyncio.Event()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        if dialled == 10:
            enough.set()
        writer.close()

    async with nats_bed.fabric() as fabric:
        keys = await fabric.keys(name)
        async with keys.watch("*"):
            fabric.on_change(lambda connected: back.set() if connected else None)
            await nats_bed.crash()
            place = urlsplit(nats_bed.url)
            async with await asyncio.start_server(hang_up, place.hostname, place.port):
                await enough.wait()
            await nats_bed.restart()
            await back.wait()
    told = [record.message for record in caplog.records if record.name == "cutwater.fabric.nats_line"]
    assert len(told) == 2, told
    assert told[0].startswith(f"cutwater: cannot connect to {nats_bed.url}")
    assert told[1] == "cutwater: connected again"


UNKNOWN = b"-ERR 'Authorization Violation'\r\n"
"""What a server says to whoever is coming in while it reads its users anew."""


@pytest.mark.parametrize(
    ("word", "rude", "comes_in"), [(b"", 2, True), (b"", 100, False), (UNKNOWN, 1, True), (UNKNOWN, 100, False)]
)
@story
async def test_one_who_is_turned_away_comes_again_but_not_for_ever(
    nats_bed: NatsBed, name: str, monkeypatch: pytest.MonkeyPatch, word: bytes, rude: int, comes_in: bool
) -> None:
    monkeypatch.setattr(nats_line, "PAUSE", 0.001)
    place, came = urlsplit(nats_bed.url), 0

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def door(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        if came <= rude:
            if word:
                writer.write(b"INFO {}\r\n")
                await reader.readline()
                writer.write(word)
                await reader.read()
            writer.close()
            return
        inner, outer = await asyncio.open_connection(place.hostname, place.port)
        await asyncio.gather(copy(reader, outer), copy(inner, writer))

    async with await asyncio.start_server(door, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        fabric = NatsFabric(NatsOptions(servers=(f"nats://127.0.0.1:{port}",)))
        if comes_in:
            async with fabric:
                await (await fabric.keys(name)).put("a", b"1")
        else:
            with pytest.raises(Forbidden if word else FabricLost):
                await fabric.__aenter__()
            assert came < rude
