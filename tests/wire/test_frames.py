"""A frame arrives as it was sent, in whatever pieces; anything else is a FrameError."""

import struct
import zlib
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from cutwater.errors import FrameError
from cutwater.units import RequestId, StageId
from cutwater.wire.frames import ALIGNMENT, MAX_HEADER, Frame, FrameReader, encode
from cutwater.wire.message import (
    PROTOCOL,
    Answer,
    Cancel,
    Credit,
    Failure,
    Hello,
    Hop,
    Infer,
    Mark,
    Message,
    Ping,
    Pong,
    TensorSpec,
)

LIMIT = 1 << 20
MARK = Mark(StageId("stage-1"), 1.0, 2.0, 3.0, 4.0, 1, 602_112, 157_000, 1e-4, 2e-4)


def infer(*specs: TensorSpec, **changes: object) -> Infer:
    message = Infer(
        request=RequestId(7),
        attempt=2,
        budget=0.25,
        route=(Hop("unix:/run/w2", "zstd"), Hop("tcp:10.0.0.3:4711", "plain")),
        reply_packing="plain",
        packing="plain",
        tensors=specs,
        trail=(MARK,),
    )
    return msgspec.structs.replace(message, **changes)


def floats(count: int, name: str = "x") -> tuple[TensorSpec, memoryview]:
    values = np.arange(count, dtype=np.float32)
    return TensorSpec(name, "float32", (count,), values.nbytes), values.view(np.uint8).data


def sealed(header: bytes, payload: bytes = b"", *, size: int | None = None, version: int = PROTOCOL) -> bytes:
    """A frame with a correct checksum around any header."""
    head = struct.pack("<4sHIQq", b"CTWR", version, len(header), len(payload) if size is None else size, -1)
    return head + struct.pack("<I", zlib.crc32(header, zlib.crc32(head))) + header + payload


def receive(reader: FrameReader, stream: bytes, pieces: Sequence[int] = ()) -> list[Frame]:
    """What comes out when the stream arrives in pieces of these sizes (the last one repeated; none: all at once)."""
    frames: list[Frame] = []
    sizes = iter(pieces)
    piece = len(stream)
    at = 0
    while at < len(stream):
        piece = next(sizes, piece)
        buffer = reader.get_buffer()
        took = min(piece, len(buffer), len(stream) - at)
        buffer[:took] = stream[at : at + took]
        frames.extend(reader.buffer_updated(took))
        at += took
    return frames


def refused(stream: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(FrameError) as caught:
        receive(FrameReader(limit), stream)
    return str(caught.value)


MESSAGES: list[tuple[Message, list[memoryview]]] = [
    (Hello(PROTOCOL, "d-1", "gateway", credits=8, max_frame=LIMIT), []),
    (infer(floats(3)[0], floats(50_000, "y")[0]), [floats(3)[1], floats(50_000)[1]]),
    (Answer(RequestId(7), 2, "plain", (floats(10)[0],), (MARK, MARK)), [floats(10)[1]]),
    (Failure(RequestId(7), 2, "StageFailed", "Grüße: 0/0", "stage-2", retryable=False), []),
    (Cancel(RequestId(7), 1), []),
    (Credit(3), []),
    (Ping(99), []),
    (Ping(99, pad=20_000), [memoryview(bytes(20_000))]),
    (Pong(99), []),
]


@pytest.mark.parametrize("piece", [1, 7, 4096, 10**9])
def test_every_message_arrives_as_it_was_sent_in_pieces_of_any_size(piece: int) -> None:
    stream = b"".join(b"".join(encode(message, buffers)) for message, buffers in MESSAGES)
    reader = FrameReader(LIMIT)

    assert receive(reader, stream, [piece]) == MESSAGES
    reader.end()


def test_encoding_passes_the_payload_on_and_copies_nothing() -> None:
    spec, buffer = floats(1000)
    assert encode(infer(spec), [buffer])[1] is buffer


def test_tensors_begin_at_aligned_places_even_after_odd_and_empty_ones() -> None:
    specs = (TensorSpec("a", "uint8", (5,), 5), TensorSpec("none", "float32", (0, 3), 0), floats(4)[0])
    frame = encode(infer(*specs), [b"12345", b"", floats(4)[1]])
    assert [len(part) for part in frame[1:]] == [5, ALIGNMENT - 5, 0, 16]

    [(_, payloads)] = receive(FrameReader(LIMIT), b"".join(frame))
    assert [bytes(payload) for payload in payloads] == [b"12345", b"", bytes(floats(4)[1])]
    address = [np.frombuffer(p, np.uint8).__array_interface__["data"][0] for p in payloads if p]
    assert (address[1] - address[0]) % ALIGNMENT == 0
    assert address[0] % 16 == 0


def test_a_large_payload_is_received_where_its_views_will_show_it() -> None:
    spec, buffer = floats(100_000)
    stream = b"".join(encode(infer(spec), [buffer]))
    reader = FrameReader(LIMIT)
    first = reader.get_buffer()
    first[:] = stream[: len(first)]
    assert list(reader.buffer_updated(len(first))) == []

    rest = reader.get_buffer()
    assert len(rest) == len(stream) - len(first)
    rest[:] = stream[len(first) :]
    [(_, [payload])] = reader.buffer_updated(len(rest))

    assert payload == buffer
    assert payload.readonly
    rest[-4:] = b"\1\2\3\4"
    assert payload[-4:] == b"\1\2\3\4"  # one memory: nothing was copied between receiving and showing


def test_frames_that_arrive_together_need_one_read() -> None:
    stream = b"".join(encode(Credit(n))[0] for n in range(100))
    reader = FrameReader(LIMIT)
    buffer = reader.get_buffer()
    buffer[: len(stream)] = stream
    assert [message for message, _ in reader.buffer_updated(len(stream))] == [Credit(n) for n in range(100)]


def test_payloads_outlive_the_frames_after_them() -> None:
    reader = FrameReader(LIMIT)
    first = b"".join(encode(infer(floats(8)[0]), [floats(8)[1]]))
    other = b"".join(encode(infer(TensorSpec("z", "uint8", (32,), 32)), [b"z" * 32]))
    [(_, [kept])] = receive(reader, first)
    receive(reader, other * 3000)
    assert kept == floats(8)[1]


def test_good_frames_before_a_bad_one_are_delivered_and_nothing_after_it() -> None:
    reader = FrameReader(LIMIT)
    stream = encode(Credit(1))[0] + b"GET / HTTP/1.1\r\nHost: example.org\r\n" + encode(Credit(2))[0]
    buffer = reader.get_buffer()
    buffer[: len(stream)] = stream
    frames = reader.buffer_updated(len(stream))

    assert next(frames) == (Credit(1), [])
    with pytest.raises(FrameError, match="b'GET '"):
        next(frames)
    for attempt in (reader.get_buffer, reader.end):
        with pytest.raises(FrameError, match="b'GET '"):
            attempt()


@pytest.mark.parametrize("kept", [1, 29, 30, 60, -1])
def test_a_stream_that_ends_within_a_frame_is_an_error(kept: int) -> None:
    spec, buffer = floats(10_000)
    reader = FrameReader(LIMIT)
    assert receive(reader, b"".join(encode(infer(spec), [buffer]))[:kept]) == []
    with pytest.raises(FrameError, match="stream ended"):
        reader.end()


def test_a_peer_of_another_version_is_told_so() -> None:
    assert f"protocol 1, this end {PROTOCOL}" in refused(sealed(b"", version=1))


def test_a_damaged_head_is_noticed() -> None:
    frame = bytearray(encode(Failure(RequestId(1), 1, "StageFailed", "why", "w", retryable=False))[0])
    frame[-3] ^= 4
    assert "checksum" in refused(bytes(frame))


def test_a_frame_over_the_limit_is_refused_before_its_header_is_there() -> None:
    assert "accepts 1048576" in refused(sealed(b"", size=2**63)[:30])
    assert "the limit is 32768" in refused(struct.pack("<4sHIQqI", b"CTWR", PROTOCOL, 2**32 - 1, 0, -1, 0))


def test_the_limit_is_exact() -> None:
    spec, buffer = floats(1000)
    stream = b"".join(encode(infer(spec), [buffer]))
    assert len(receive(FrameReader(len(stream)), stream)) == 1
    assert "accepts" in refused(stream, limit=len(stream) - 1)


@pytest.mark.parametrize(
    ("specs", "payload", "complaint"),
    [
        ([TensorSpec("x", "float32", (2,), 8)], b"1234567", "take 8 bytes, its payload has 7"),
        ([TensorSpec("x", "float32", (2,), 8)], b"123456789", "take 8 bytes, its payload has 9"),
        ([TensorSpec("x", "float32", (-1,), 8)], b"12345678", "Expected `int` >= 0"),
        ([TensorSpec("x", "float32", (2,), -8)], b"", "Expected `int` >= 0"),
        ([TensorSpec("x", "float32", (2**40, 2**40), 8)], b"12345678", "over 1048576 bytes unpacked"),
        ([TensorSpec("x", "float32", (0, *(2**20,) * 9), 0)], b"", "over 1048576 bytes unpacked"),
        ([TensorSpec("x", "object", (1,), 8)], b"12345678", "'object' cannot travel"),
        ([TensorSpec("x", "<U4", (1,), 16)], b"1" * 16, "'<U4' cannot travel"),
        ([TensorSpec("x", "uint8", (1,) * 33, 1)], b"1", "length <= 32"),
    ],
)
def test_tensor_specs_that_make_no_sense_are_refused(specs: list[TensorSpec], payload: bytes, complaint: str) -> None:
    assert complaint in refused(sealed(msgspec.msgpack.encode(infer(*specs)), payload))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc0",
        msgspec.msgpack.encode(["Unknown", 1]),
        msgspec.msgpack.encode(["Credit"]),
        msgspec.msgpack.encode(["Credit", 1, "more"]),
        msgspec.msgpack.encode(["Credit", -1]),
        msgspec.msgpack.encode(["Credit", 1.5]),
        msgspec.msgpack.encode(["Credit", 1]) + b"\x00",
        b"\x96\xa7Failure\x01\x01\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 10_000,
    ],
)
def test_headers_that_are_no_message_are_refused(header: bytes) -> None:
    assert "header is not a message" in refused(sealed(header))


def test_times_that_are_not_numbers_are_refused() -> None:
    nan = float("nan")
    for message in (infer(budget=nan), infer(trail=(msgspec.structs.replace(MARK, started=nan),))):
        assert "Expected `float` >=" in refused(sealed(msgspec.msgpack.encode(message)))


def test_messages_without_tensors_carry_no_payload() -> None:
    assert "its payload has 3" in refused(sealed(msgspec.msgpack.encode(Pong(1)), b"abc"))


def test_encoding_refuses_buffers_the_header_does_not_describe() -> None:
    spec, buffer = floats(4)
    for buffers in ([], [buffer, buffer], [buffer[:-1]]):
        with pytest.raises(FrameError, match=r"describes \[16\]"):
            encode(infer(spec), buffers)


def test_encoding_refuses_a_header_no_reader_would_take() -> None:
    with pytest.raises(FrameError, match="the limit is 32768"):
        encode(Failure(RequestId(1), 1, "StageFailed", "x" * MAX_HEADER, "w", retryable=False))
