"""Connections that misbehave: they are hung up on, what they asked for is withdrawn, and others are served."""

import asyncio
import gzip
from collections.abc import Iterator
from struct import pack

import grpc
import numpy as np
import pytest
from grpc_bed import Bed, serving, two_x
from ngh2 import Connection, events
from ngh2.config import Configuration, Role

from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.options import GrpcOptions

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LARGE = 3 * 2**20


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """A server without patience."""
    options = GrpcOptions(
        head_time=0.2, body_time=0.3, write_time=0.3, idle_time=1.5, silence=0.5, patience=0.2, window=2
    )
    with serving(options) as found:
        yield found


class Raw:
    """A client that does with HTTP/2 what it wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http2 = Connection(Role.CLIENT, Configuration(auto_window_update=False))
        self._reader, self._writer = reader, writer
        self._events: list[events.Event] = []

    @classmethod
    async def of(cls, bed: Bed, settings: dict[int, int] | None = None) -> "Raw":
        found = cls(*await asyncio.open_connection(*bed.url.split(":")))
        found.http2.initiate_connection(settings)
        return found

    def begin(self, path: str = INFER, **metadata: str) -> int:
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
        headers += [("content-type", "application/grpc"), *((key.replace("_", "-"), v) for key, v in metadata.items())]
        return self.http2.send_request([(key.encode(), value.encode()) for key, value in headers])

    def say(self, stream: int, message: bytes, *, end: bool = False) -> None:
        self.http2.send_data(stream, pack(">BI", 0, len(message)) + message, end_stream=end)

    async def send(self) -> None:
        self._writer.write(self.http2.data_to_send())
        await self._writer.drain()

    async def until(self, kind: type[events.Event]) -> events.Event:
        """The next event of this kind."""
        while True:
            self._events += self.http2.events()
            while self._events:
                if isinstance(event := self._events.pop(0), kind):
                    return event
            data = await self._reader.read(65536)
            assert data, "the server hung up"
            self.http2.receive_data(data)
            await self.send()

    async def end(self) -> None:
        """Returns when the server hangs up."""
        while await self._reader.read(65536):
            pass
        self._writer.close()


def slow(id: str = "") -> bytes:
    request = two_x(1, model="slow")
    request.inputs[0].shape[:] = [1]
    request.id = id
    found: bytes = request.SerializeToString()
    return found


def status(event: events.Event) -> str:
    assert isinstance(event, events.ResponseReceived | events.TrailersReceived)
    return dict(event.headers)[b"grpc-status"].decode()  # type: ignore[arg-type]


async def well(bed: Bed) -> None:
    async with bed.channel() as channel:
        assert await channel.unary_unary(INFER)(two_x(1, 2, 3, 4).SerializeToString())


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64]
)
def test_whoever_does_not_speak_http2_is_hung_up_on(bed: Bed, said: bytes) -> None:
    async def story() -> None:
        reader, writer = await asyncio.open_connection(*bed.url.split(":"))
        writer.write(said)
        while await reader.read(65536):
            pass
        writer.close()
        await well(bed)

    bed.run(story())


def test_whoever_says_nothing_is_hung_up_on(bed: Bed) -> None:
    async def story() -> None:
        reader, writer = await asyncio.open_connection(*bed.url.split(":"))
        while await reader.read(65536):
            pass
        writer.close()

    bed.run(story())


@pytest.mark.slow
def test_a_connection_without_calls_ends(bed: Bed) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        await raw.send()
        await raw.until(events.GoAwayReceived)
        await raw.end()

    bed.run(story())


@pytest.mark.slow
def test_a_silent_end_is_asked_for_a_word_and_hung_up_on(bed: Bed) -> None:
    async def story() -> None:
        bed.backend.waiting.clear()
        reader, writer = await asyncio.open_connection(*bed.url.split(":"))
        raw = Raw(reader, writer)
        raw.http2.initiate_connection()
        raw.say(raw.begin(), slow("silent"), end=True)
        await raw.send()
        await bed.backend.waiting.wait()
        await raw.end()
        await bed.backend.until_withdrawn("silent")

    bed.run(story())


@pytest.mark.slow
def test_a_message_that_does_not_come_to_its_end_is_given_up(bed: Bed) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        stream = raw.begin()
        raw.http2.send_data(stream, pack(">BI", 0, 1000) + b"x" * 10)
        await raw.send()
        assert status(await raw.until(events.ResponseReceived)) == "4"
        await well(bed)

    bed.run(story())


@pytest.mark.slow
def test_an_answer_that_nobody_takes_is_taken_back(bed: Bed) -> None:
    async def story() -> None:
        raw = await Raw.of(bed, {4: 0})
        stream = raw.begin()
        raw.say(stream, two_x(1, 2, 3, 4).SerializeToString(), end=True)
        await raw.send()
        assert isinstance(await raw.until(events.ResponseReceived), events.ResponseReceived)
        reset = await raw.until(events.StreamReset)
        assert isinstance(reset, events.StreamReset)
        assert reset.error_code == 8
        await well(bed)

    bed.run(story())


def test_calls_that_are_left_as_soon_as_they_are_made_end_the_connection(bed: Bed) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        await raw.send()
        await raw.until(events.SettingsReceived)
        for _ in range(3000):
            stream = raw.begin()
            raw.say(stream, slow(), end=True)
            await raw.send()
            raw.http2.reset_stream(stream)
        with pytest.raises((AssertionError, ConnectionError)):
            await raw.send()
            while True:
                await raw.until(events.PingAcknowledged)
        await well(bed)

    bed.run(story())


def test_what_is_no_grpc_is_said_to_be_none(bed: Bed) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        raw.http2.send_request(
            [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")], end_stream=True
        )
        await raw.send()
        assert status(await raw.until(events.ResponseReceived)) == "3"

    bed.run(story())


@pytest.mark.parametrize(("metadata", "code"), [({"grpc_timeout": "soon"}, "3"), ({"grpc_timeout": "0n"}, "4")])
def test_deadlines_that_are_none_or_over(bed: Bed, metadata: dict[str, str], code: str) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        raw.say(raw.begin(**metadata), slow(), end=True)
        await raw.send()
        assert status(await raw.until(events.ResponseReceived)) == code

    bed.run(story())


@pytest.mark.parametrize("messages", [0, 2])
def test_a_method_that_takes_one_message_takes_one(bed: Bed, messages: int) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        stream = raw.begin()
        for _ in range(messages):
            raw.say(stream, slow())
        raw.http2.end_stream(stream)
        await raw.send()
        assert status(await raw.until(events.ResponseReceived)) == "3"

    bed.run(story())


def test_a_message_may_come_byte_by_byte(bed: Bed) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        stream = raw.begin()
        message = two_x(1, 2, 3, 4).SerializeToString()
        for byte in pack(">BI", 0, len(message)) + message:
            raw.http2.send_data(stream, bytes([byte]))
            await raw.send()
        raw.http2.end_stream(stream)
        await raw.send()
        assert status(await raw.until(events.TrailersReceived)) == "0"

    bed.run(story())


def test_large_tensors_go_both_ways_in_calls_and_in_streams(bed: Bed) -> None:
    x = np.arange(LARGE // 4, dtype=np.float32)
    request = pb.ModelInferRequest(model_name="two_large")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1, x.size])
    request.raw_input_contents.append(x.tobytes())

    async def story() -> None:
        async with bed.channel(large=True) as channel:
            found = pb.ModelInferResponse.FromString(await channel.unary_unary(INFER)(request.SerializeToString()))
            np.testing.assert_array_equal(np.frombuffer(found.raw_output_contents[0], np.float32), x * 2)
            call = channel.stream_stream(STREAM)(iter([request.SerializeToString()] * 6))
            answers = [pb.ModelStreamInferResponse.FromString(each) async for each in call]
        assert len(answers) == 6
        assert {each.infer_response.raw_output_contents[0] for each in answers} == {found.raw_output_contents[0]}

    bed.run(story())


def test_a_stream_is_read_no_further_than_its_window(bed: Bed) -> None:
    async def story() -> None:
        before = len(bed.backend.asked)
        bed.backend.slow.clear()
        async with bed.channel() as channel:
            call = channel.stream_stream(STREAM)()
            for _ in range(10):
                await call.write(slow())
            await call.done_writing()
            await well(bed)
            asked = [each for each in bed.backend.asked[before:] if each.model == "slow"]
            assert 2 <= len(asked) <= 4
            bed.backend.slow.set()
            assert len([each async for each in call]) == 10
        bed.backend.slow.clear()

    bed.run(story())


def test_many_connections_are_served_side_by_side(bed: Bed) -> None:
    async def one() -> None:
        raw = await Raw.of(bed)
        raw.say(raw.begin(), two_x(1, 2, 3, 4).SerializeToString(), end=True)
        await raw.send()
        assert status(await raw.until(events.TrailersReceived)) == "0"

    async def story() -> None:
        await asyncio.gather(*(one() for _ in range(200)))

    bed.run(story())


def test_calls_come_to_nothing_when_their_connection_is_lost(bed: Bed) -> None:
    async def story() -> None:
        bed.backend.waiting.clear()
        reader, writer = await asyncio.open_connection(*bed.url.split(":"))
        raw = Raw(reader, writer)
        raw.http2.initiate_connection()
        raw.say(raw.begin(), slow("lost"), end=True)
        await raw.send()
        await bed.backend.waiting.wait()
        writer.transport.abort()
        await bed.backend.until_withdrawn("lost")
        async with bed.channel() as channel:
            code = await channel.unary_unary(INFER)(two_x(1, model="none").SerializeToString()).code()
        assert code is grpc.StatusCode.NOT_FOUND

    bed.run(story())


def test_messages_of_a_stream_are_unpacked_each_and_one_that_cannot_be_ends_it(bed: Bed) -> None:
    message = two_x(1, 2, 3, 4).SerializeToString()
    large = two_x(*[0] * 4096, model="none").SerializeToString()

    async def story() -> None:
        raw = await Raw.of(bed)
        stream = raw.begin(STREAM, grpc_encoding="gzip")
        for packed in (gzip.compress(message), gzip.compress(large + bytes(range(256)) * 200), b"no gzip"):
            raw.http2.send_data(stream, pack(">BI", 1, len(packed)) + packed)
        await raw.send()
        came = b""
        while True:
            event = await raw.until(events.Event)
            if isinstance(event, events.DataReceived):
                came += event.data
            if isinstance(event, events.TrailersReceived):
                break
        assert status(event) == "3"
        assert np.array([2, 4, 6, 8], np.float32).tobytes() in came

    bed.run(story())


@pytest.mark.parametrize(("coding", "code"), [("identity", "12"), ("snappy", "12"), ("gzip", "3")])
def test_a_packed_message_says_how_it_is_packed(bed: Bed, coding: str, code: str) -> None:
    async def story() -> None:
        raw = await Raw.of(bed)
        raw.http2.send_data(raw.begin(grpc_encoding=coding), pack(">BI", 1, 3) + b"abc", end_stream=True)
        await raw.send()
        assert status(await raw.until(events.ResponseReceived)) == code

    bed.run(story())
