"""What nobody foresaw, what JSON cannot say, and answers that nobody takes."""

import asyncio
import logging

import aiohttp
import msgspec
import numpy as np
import pytest
from http_bed import Bed, number, on_bed, serving
from two_x import TwoX

from cutwater.api.backend import Answered, Ask, Statistics
from cutwater.api.http.app import make_app
from cutwater.api.http.options import HttpOptions
from cutwater.api.http.server import HttpServer
from cutwater.api.where import Where


class Faulty(TwoX):
    """With faults of the kind that nobody foresees."""

    def statistics(self, name: str) -> Statistics:
        raise ZeroDivisionError("a fault of our own")

    async def infer(self, ask: Ask) -> Answered:
        raise ZeroDivisionError("a fault of our own")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v2/models/two_float32/stats"), ("POST", "/v2/models/two_float32/infer")]
)
def test_an_error_nobody_foresaw_is_logged_and_typed_like_the_rest(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        options = HttpOptions()
        server = HttpServer(make_app(Faulty(), options), Where("127.0.0.1", 0), options)
        url = await server.start()
        async with aiohttp.ClientSession() as http:
            body = msgspec.json.encode({"inputs": [number([1.0, 2.0, 3.0, 4.0])]})
            async with http.request(method, url + path, data=body if method == "POST" else None) as answer:
                assert (answer.status, answer.content_type) == (500, "application/json")
                assert answer.headers["Cutwater-Error"] == "StageFailed"
                assert "its log says why" in (await answer.json())["error"]
        await server.stop(1.0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert [record.message for record in caplog.records if record.name.startswith("cutwater")] == [
        f"{method} {path} broke its handling"
    ]
    assert "a fault of our own" in caplog.text


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say_is_had_in_binary(odd: float) -> None:
    async def story(bed: Bed) -> None:
        x = np.array([[1.0, odd, 3.0, 4.0]], np.float32)
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
        said = await bed.send("two_float32", {"inputs": [tensor]}, x.tobytes())
        assert (said.status, "output 'y'" in said.error, "binary_data" in said.error) == (400, True, True)
        binary = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        _, found = (await bed.send("two_float32", binary, x.tobytes())).binary()
        assert np.array_equal(np.frombuffer(found, np.float32), x[0] * 2, equal_nan=True)

    on_bed(story)


@pytest.mark.slow
def test_an_answer_counts_as_held_until_it_is_taken() -> None:
    size = 16 * 10**6

    async def story(bed: Bed) -> None:
        x = {"name": "x", "shape": [1, 2000, 2000], "datatype": "FP32", "parameters": {"binary_data_size": size}}
        head = msgspec.json.encode({"inputs": [x], "parameters": {"binary_data_output": True}})
        request = b"POST /v2/models/two_large/infer HTTP/1.1\r\nHost: localhost\r\n"
        request += b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(head), len(head) + size)
        reader, writer = await bed.raw()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request + head + bytes(size))
        while not any(ask.model == "two_large" for ask in bed.backend.asked):
            await bed.well()
        while (said := await bed.send("two_large", msgspec.json.decode(head), bytes(size))).status == 200:
            """Until the answer of the first stands in the way."""
        assert (said.status, "are under way" in said.error) == (503, True)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(size)
        while (await bed.send("two_large", msgspec.json.decode(head), bytes(size))).status != 200:
            """Until the server has noticed that it is taken."""
        writer.close()

    on_bed(story, HttpOptions(max_held=3 * size))


def test_stopping_again_with_less_patience_cuts_off_what_is_left() -> None:
    async def story() -> None:
        async with serving() as bed:
            asking = asyncio.create_task(bed.infer("slow", number([1.0], shape=[1]), id="slow-1"))
            async with asyncio.timeout(5):
                await bed.backend.waiting.wait()
            patient = asyncio.create_task(bed.server.stop(60.0))
            await asyncio.sleep(0)
            await bed.server.stop(0.0)
            await patient
            assert (bed.backend.withdrawn, bed.server.connections) == (["slow-1"], 0)
            with pytest.raises(aiohttp.ClientError):
                await asking

    asyncio.run(story())
