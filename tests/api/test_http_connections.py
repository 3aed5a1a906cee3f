"""Connections: who is slow, gone, too many or too loud, and what becomes of everybody else; stopping gracefully."""

import asyncio
import resource

import msgspec
import pytest
from http_bed import Bed, number, on_bed, serving

from cutwater.api.http.options import HttpOptions
from cutwater.api.porch import FEW
from cutwater.errors import Refused

REQUEST = b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
SLOW = msgspec.json.encode({"inputs": [number([1.0], shape=[1])], "id": "slow-1"})


def whole(model: bytes, body: bytes) -> bytes:
    return REQUEST % (model, b"Content-Length: %d\r\n" % len(body)) + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def test_hanging_up_withdraws_the_request() -> None:
    async def story(bed: Bed) -> None:
        _, writer = await bed.raw()
        writer.write(whole(b"slow", SLOW))
        await bed.backend.waiting.wait()
        writer.close()
        await bed.backend.until_withdrawn("slow-1")
        await bed.well()

    on_bed(story)


def test_half_a_request_and_hanging_up_leaves_nothing_behind() -> None:
    async def story(bed: Bed) -> None:
        for part in (b"", b"POST /v2/mod", whole(b"slow", SLOW)[:-5]):
            _, writer = await bed.raw()
            writer.write(part)
            writer.close()
            await writer.wait_closed()
        await bed.well()
        while bed.server.connections > 1:
            await bed.well()
        assert all(ask.model == "two_int32" for ask in bed.backend.asked)

    on_bed(story)


def test_a_body_that_would_be_read_in_vain_is_not_read_and_the_connection_is_kept() -> None:
    """Whoever waits to be asked for the body never sends it; whoever sends it all the same may ask again."""
    refused, body = Refused("too late"), bytes(50_000)

    async def story(bed: Bed) -> None:
        bed.backend.refuses = refused
        head = REQUEST % (b"two_int32", b"Content-Length: %d\r\n" % len(body))
        readers = []
        for _ in range(FEW):  # these are read without asking
            readers.append(await bed.raw())
            readers[-1][1].write(head)
        await bed.ask("/v2/models/mixed/infer", b"{}")  # the heads are here
        await bed.infer("two_int32", number([1, 2, 3, 4], "INT32"), parameters={"timeout": 250_000})
        assert bed.backend.coming == []  # nobody knew what this client wants
        reader, writer = await bed.raw()
        writer.write(REQUEST % (b"two_int32", b"Content-Length: 50000\r\nExpect: 100-continue\r\n"))
        status, headers, found = await answer(reader)
        assert (status, msgspec.json.decode(found)["error"], "retry-after" in headers) == (503, "too late", True)
        (ask, ahead) = bed.backend.coming.pop()
        assert (ask.model, ask.timeout, ask.client, ahead) == ("two_int32", 0.25, "http:127.0.0.1", FEW)
        bed.backend.refuses = None
        writer.write(body + whole(b"two_int32", msgspec.json.encode({"inputs": [number([5, 0, 0, 0], "INT32")]})))
        status, _, found = await answer(reader)
        assert (status, msgspec.json.decode(found)["outputs"][0]["data"][0]) == (200, 10)

    on_bed(story)


def test_a_connection_is_kept_and_requests_may_be_sent_ahead() -> None:
    async def story(bed: Bed) -> None:
        reader, writer = await bed.raw()
        bodies = [msgspec.json.encode({"inputs": [number([n, 0, 0, 0], "INT32")]}) for n in range(5)]
        writer.write(b"".join(whole(b"two_int32", body) for body in bodies))
        for n in range(5):
            status, _, body = await answer(reader)
            assert (status, msgspec.json.decode(body)["outputs"][0]["data"][0]) == (200, 2 * n)
        writer.close()

    on_bed(story)


def test_a_body_may_come_in_chunks_and_after_100_continue() -> None:
    async def story(bed: Bed) -> None:
        body = msgspec.json.encode({"inputs": [number([3, 0, 0, 0], "INT32")]})
        reader, writer = await bed.raw()
        writer.write(REQUEST % (b"two_int32", b"Transfer-Encoding: chunked\r\n"))
        for at in range(0, len(body), 10):
            part = body[at : at + 10]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(REQUEST % (b"two_int32", b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await answer(reader))[0] == 200
        writer.close()

    on_bed(story)


def test_a_body_that_is_refused_does_not_end_the_connection() -> None:
    async def story(bed: Bed) -> None:
        reader, writer = await bed.raw()
        writer.write(whole(b"two_int32", bytes(200_000)))
        assert (await answer(reader))[0] == 413
        writer.write(whole(b"two_int32", msgspec.json.encode({"inputs": [number([3, 0, 0, 0], "INT32")]})))
        assert (await answer(reader))[0] == 200
        writer.close()

    on_bed(story, HttpOptions(max_request=1000))


@pytest.mark.slow
def test_the_slow_are_hung_up_on_and_others_do_not_notice() -> None:
    impatient = HttpOptions(head_time=0.3, body_time=0.3, body_rate=1e9, idle_time=0.9, write_time=0.3)

    async def slow_head(bed: Bed) -> int:
        reader, writer = await bed.raw()
        writer.write(b"POST /v2 HTTP/1.1\r\nHost: local")
        return (await answer(reader))[0]

    async def dripping_head(bed: Bed) -> int:
        reader, writer = await bed.raw()
        told = asyncio.ensure_future(answer(reader))
        writer.write(b"POST /v2 HTTP/1.1\r\n")
        while not told.done():
            writer.write(b"X: y\r\n")
            await asyncio.wait([told], timeout=0.05)
        return told.result()[0]

    async def slow_body(bed: Bed) -> int:
        reader, writer = await bed.raw()
        writer.write(REQUEST % (b"two_int32", b"Content-Length: 1000\r\n") + b"some")
        return (await answer(reader))[0]

    async def idle(bed: Bed) -> int:
        never_asked, _ = await bed.raw()
        reader, writer = await bed.raw()
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await answer(reader))[0] == 200
        assert (await never_asked.read(), await reader.read()) == (b"", b"")
        return 0

    async def story(bed: Bed) -> None:
        found = await asyncio.gather(slow_head(bed), dripping_head(bed), slow_body(bed), idle(bed), bed.well())
        assert found[:4] == [408, 408, 408, 0]
        assert bed.backend.asked[-1].model == "two_int32"

    on_bed(story, impatient)


@pytest.mark.slow
def test_who_takes_nothing_of_a_large_answer_is_hung_up_on() -> None:
    async def story(bed: Bed) -> None:
        size = 16 * 10**6
        _, writer = await bed.raw()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        x = {"name": "x", "shape": [1, 2000, 2000], "datatype": "FP32", "parameters": {"binary_data_size": size}}
        head = msgspec.json.encode({"inputs": [x], "parameters": {"binary_data_output": True}})
        said = b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n" % (len(head), len(head) + size)
        writer.write(REQUEST % (b"two_large", said) + head + bytes(size))
        while not any(ask.model == "two_large" for ask in bed.backend.asked):
            await bed.well()
        while bed.server.connections > 1:
            await bed.well()

    on_bed(story, HttpOptions(write_time=0.3))


def test_too_much_head_is_refused() -> None:
    async def story(bed: Bed) -> None:
        for head in (
            b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
            b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 9000 + b"\r\n",
            b"GET /" + b"v" * 40_000,
        ):
            reader, writer = await bed.raw()
            writer.write(head)
            status, headers, body = await answer(reader)
            assert (status, headers["connection"]) == (431, "close")
            assert b"over 32768 bytes" in body
            assert await reader.read() == b""
            writer.close()
        await bed.well()

    on_bed(story)


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_refused(noise: bytes) -> None:
    async def story(bed: Bed) -> None:
        reader, writer = await bed.raw()
        writer.write(noise)
        status, _, body = await answer(reader)
        assert (status, body) == (400, b'{"error":"this is not HTTP"}')
        assert await reader.read() == b""
        writer.close()
        await bed.well()

    on_bed(story)


@pytest.mark.slow
def test_a_thousand_connections_are_open_and_all_are_served() -> None:
    async def story(bed: Bed) -> None:
        open_ = await asyncio.gather(*(bed.raw() for _ in range(1000)))
        body = msgspec.json.encode({"inputs": [number([3, 0, 0, 0], "INT32")]})
        for _, writer in open_:
            writer.write(whole(b"two_int32", body))
        found = await asyncio.gather(*(answer(reader) for reader, _ in open_))
        assert {status for status, _, _ in found} == {200}
        assert bed.server.connections == 1000
        for _, writer in open_:
            writer.close()

    on_bed(story)


def test_more_connections_are_allowed_than_processes_usually_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))

    async def story(bed: Bed) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == min(2000 + 1024, hard)

    try:
        on_bed(story, HttpOptions(connections=2000))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_connections_beyond_the_limit_are_refused() -> None:
    async def story(bed: Bed) -> None:
        held = [await bed.raw() for _ in range(2)]
        for reader, writer in held:
            writer.write(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await answer(reader))[0] == 200
        reader, writer = await bed.raw()
        status, _, body = await answer(reader)
        assert (status, body) == (503, b'{"error":"2 connections are open, and more are not taken"}')
        for each in (writer, *(writer for _, writer in held)):
            each.close()

    on_bed(story, HttpOptions(connections=2))


def test_stopping_finishes_what_is_open_and_takes_nobody_in() -> None:
    async def story() -> None:
        async with serving() as bed:
            idle_reader, _ = await bed.raw()
            reader, writer = await bed.raw()
            writer.write(whole(b"slow", SLOW))
            await bed.backend.waiting.wait()
            stopping = asyncio.ensure_future(bed.server.stop(10.0))
            assert await idle_reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await bed.raw()
            bed.backend.slow.set()
            status, headers, _ = await answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            await stopping
            assert bed.server.connections == 0

    asyncio.run(story())


def test_stopping_cuts_off_what_does_not_end_in_time() -> None:
    async def story() -> None:
        async with serving() as bed:
            reader, writer = await bed.raw()
            writer.write(whole(b"slow", SLOW))
            await bed.backend.waiting.wait()
            await bed.server.stop(0.05)
            assert bed.backend.withdrawn == ["slow-1"]
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await answer(reader)

    asyncio.run(story())
