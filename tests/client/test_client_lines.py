"""HTTP servers that misbehave, each by a script, and what a client makes of them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from cutwater import AsyncClient
from cutwater.client.retries import Retries
from cutwater.drivers.live import clock
from cutwater.errors import BadTensor, CutwaterError, FrameError, InputError, LinkLost, Refused, StageFailed

ONE = {"x": np.ones(1, np.float32)}
JSON = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[2.0]}]}'
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(JSON), JSON)
RESET = b""
"""In place of an answer the connection ends."""


def answered(script: Sequence[bytes], tell: Callable[[AsyncClient], Awaitable[None]], retries: int = 4) -> list[bytes]:
    """What a server was asked that answers each request with the next piece of a script, and then ends the line."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(asked) < len(script):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            asked.append(head + await reader.readexactly(int(head.split(b"\r\ncontent-length: ")[1].split()[0])))
            writer.write(script[len(asked) - 1])
            if script[len(asked) - 1] != GOOD:
                break
        writer.close()

    async def story() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        patience = Retries(most=retries, first=0.001)
        async with AsyncClient(f"http://{host}:{port}", retries=patience, timeout=5) as client:
            await tell(client)
        server.close()

    asyncio.run(story())
    return asked


def raised(script: Sequence[bytes], kind: type[CutwaterError], match: str, retries: int = 4) -> list[bytes]:
    async def tell(client: AsyncClient) -> None:
        with pytest.raises(kind, match=match):
            await client.infer("m", ONE)

    return answered(script, tell, retries)


def refusal(status: int, message: str, *headers: bytes) -> bytes:
    body = json.dumps({"error": message}).encode()
    lines = (b"HTTP/1.1 %d No" % status, *headers, b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def ids(asked: Sequence[bytes]) -> set[str]:
    """What the requests were called."""
    found = set()
    for each in asked:
        head, _, body = each.partition(b"\r\n\r\n")
        length = int(head.split(b"inference-header-content-length: ")[1].split()[0])
        found.add(json.loads(body[:length])["id"])
    return found


def test_a_request_is_sent_again_by_the_same_name_until_it_is_answered() -> None:
    tries: list[int] = []

    async def tell(client: AsyncClient) -> None:
        result = await client.infer("m", ONE)
        assert result.array.tolist() == [2.0]
        tries.append(result.tries)

    asked = answered([RESET, GOOD[:60], refusal(503, "full"), refusal(429, "slow down"), GOOD], tell)
    assert tries == [5] and len(asked) == 5 and len(ids(asked)) == 1


def test_it_is_not_sent_for_ever() -> None:
    assert len(raised([refusal(503, "full")] * 3 + [GOOD], Refused, "full", retries=2)) == 3
    assert len(raised([RESET] * 3 + [GOOD], LinkLost, "closed the connection before it had answered", retries=2)) == 3


def test_what_trying_again_does_not_help_is_said_at_once() -> None:
    assert len(raised([refusal(400, "input 'x' is too long"), GOOD], BadTensor, "too long")) == 1
    assert len(raised([refusal(500, ""), GOOD], StageFailed, "status 500")) == 1


def test_a_server_that_says_when_is_not_asked_before() -> None:
    async def tell(client: AsyncClient) -> None:
        began = clock()
        result = await client.infer("m", ONE)
        assert result.tries == 2 and 0.15 <= clock() - began < 1

    answered([refusal(503, "full", b"retry-after: 0.15"), GOOD], tell)


def test_a_line_that_was_closed_while_it_was_kept_costs_no_try() -> None:
    async def tell(client: AsyncClient) -> None:
        assert (await client.infer("m", ONE)).tries == 1
        assert (await client.infer("m", ONE)).tries == 1

    assert len(answered([GOOD, RESET, GOOD], tell, retries=0)) == 3


def test_answers_in_pieces_and_after_an_interim_one_are_whole() -> None:
    pieces = b"".join(b"1\r\n" + JSON[k : k + 1] + b"\r\n" for k in range(len(JSON))) + b"0\r\n\r\n"
    chunked = (
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + pieces
    )

    async def tell(client: AsyncClient) -> None:
        assert (await client.infer("m", ONE)).array.tolist() == [2.0]

    answered([chunked], tell)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n", "999999999999 bytes; at most 268435456"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope", "cannot be read"),
        (GOOD.replace(b"FP32", b"FP33"), "FP33"),
        (GOOD.replace(b'"data":[2.0]', b'"date":[2.0]'), "binary_data_size"),
        (GOOD.replace(b"[2.0]", b"[2,0]"), "shape"),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(answer: bytes, why: str) -> None:
    assert len(raised([answer], FrameError, why)) == 1


def test_where_nobody_listens_it_is_said_after_some_tries() -> None:
    async def story() -> None:
        async with AsyncClient("http://127.0.0.1:9", retries=Retries(2, 0.001)) as client:
            with pytest.raises(LinkLost, match=r"nobody answers at http://127\.0\.0\.1:9"):
                await client.infer("m", ONE)
            assert not await client.ready()

    asyncio.run(story())


def test_pictures_are_looked_at_over_the_tasks_endpoints() -> None:
    told = b'"model":"m","request":"5c-1","latency":0.01,"degraded":false,"picture":{"width":4,"height":3}'
    classes = b'{%s,"classes":[{"label":"cat","class":281,"score":0.75}]}' % told
    boxes = b'{%s,"detections":[{"label":"bus","class":5,"score":0.5,"box":[0,1,2.5,3]}]}' % told

    async def tell(client: AsyncClient) -> None:
        seen = await client.classify(b"\xff\xd8", "m", top=1, priority=2)
        assert [(each.label, each.class_, each.score) for each in seen.classes] == [("cat", 281, 0.75)]
        found = await client.detect(b"\xff\xd8", threshold=0.4, id="mine")
        assert [(each.label, tuple(each.box)) for each in found.detections] == [("bus", (0.0, 1.0, 2.5, 3.0))]
        assert (found.picture.width, found.request) == (4, "5c-1")

    good = [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body) for body in (classes, boxes)]
    first, second = answered(good, tell)
    assert first.startswith(b"POST /v1/classify?top=1&model=m&priority=2&timeout=") and first.endswith(b"\xff\xd8")
    assert second.startswith(b"POST /v1/detect?threshold=0.4&timeout=") and b"\r\nx-request-id: mine\r\n" in second


@pytest.mark.parametrize("odd", ["mine\r\nauthorization: Bearer x", "m\u00f6we", "a\tb"])
def test_what_would_be_another_header_is_not_sent(odd: str) -> None:
    async def story() -> None:
        async with AsyncClient("http://127.0.0.1:9") as client:
            with pytest.raises(InputError, match="x-request-id"):
                await client.classify(b"\xff\xd8", "m", id=odd)
            with pytest.raises(InputError, match="traceparent"):
                await client.infer("m", ONE, trace=odd)

    asyncio.run(story())
