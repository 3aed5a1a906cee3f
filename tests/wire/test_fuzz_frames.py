"""100,000 streams that went wrong: each is a correct message or a FrameError or CodecError, within the limit."""

import math
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from cutwater.errors import CodecError, FrameError
from cutwater.units import RequestId, StageId
from cutwater.wire.frames import Frame, FrameReader, encode, placed
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
    Release,
    Share,
    TensorSpec,
)
from cutwater.wire.packings import PACKINGS
from cutwater.wire.tensors import pack, tensors

LIMIT = 16 * 1024
PREFIX = 30
Chance = random.Random
Stream = bytearray


def corpus() -> list[tuple[bytes, int]]:
    """Valid frames of every kind, each with the length of its head."""
    rng = np.random.default_rng(5)
    arrays = [
        ("x", "float32", np.maximum(rng.standard_normal((1, 8, 12)).astype(np.float32), 0)),
        ("x.zero", "uint8", np.zeros((), np.uint8)),
        ("mask", "bool", rng.random((3, 0, 2)) > 0.5),
        ("shape", "int64", np.array([1, 3, 224], np.int64)),
        ("half", "float16", np.zeros((2, 300), np.float16)),
    ]
    mark = Mark(StageId("s1"), 1.0, 2.0, 3.0, 4.0, 1, 100, 200, 0.5, 0.5)
    route = (Hop("unix:/w2", "zstd"), Hop("tcp:h:1", "plain"))
    frames: list[list[Any]] = [
        encode(message)
        for message in (
            Hello(PROTOCOL, "d", "gateway", 4, LIMIT),
            Failure(RequestId(1), 1, "StageFailed", "why", "s1", retryable=True, trail=(mark,)),
            Cancel(RequestId(2), 3),
            Credit(1),
            Ping(1),
            Pong(2**60),
            Share(7, 2**26),
            Release((0, 2**20)),
        )
    ]
    frames.append(encode(Ping(1, pad=100), [bytes(100)]))
    for packing in PACKINGS:
        for count in range(len(arrays) + 1):
            specs, buffers = pack(arrays[:count], packing)
            infer = Infer(RequestId(count), 1, 0.5, route[: count % 3], "plain", packing, specs, (mark,) * (count % 4))
            frames += [encode(infer, buffers), encode(Answer(RequestId(count), 1, packing, specs, (mark,)), buffers)]
    return [(b"".join(frame), len(frame[0])) for frame in frames]


CORPUS = corpus()


def seal(header: bytes, payload: bytes, version: int = PROTOCOL, size: int | None = None) -> Stream:
    head = struct.pack("<4sHIQq", b"CTWR", version, len(header), len(payload) if size is None else size, -1)
    return Stream(head + struct.pack("<I", zlib.crc32(header, zlib.crc32(head))) + header + payload)


def truncated(chance: Chance) -> Stream:
    frame, _ = chance.choice(CORPUS)
    return Stream(frame[: chance.randrange(1, len(frame))])


def bits_flipped(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    damaged = Stream(frame)
    for _ in range(chance.randint(1, 8)):
        damaged[chance.randrange(len(frame) if chance.random() < 0.5 else head)] ^= 1 << chance.randrange(8)
    return damaged


def other_version(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    return seal(frame[PREFIX:head], frame[head:], version=chance.choice([0, PROTOCOL - 1, PROTOCOL + 1, 0xFFFF]))


BOMBS = {name: bytes(PACKINGS[name].pack(memoryview(bytes(2 << 20)), 1)) for name in ("lz4", "zstd")}


def oversize(chance: Chance) -> Stream:
    """Frames whose prefix, specs and payload agree on being too large, on the way or once unpacked."""
    size = chance.choice([LIMIT, 2**22, 2**31, 2**40, 2**63 - 1])
    way = chance.randrange(3)
    if way == 0:
        return seal(msgspec.msgpack.encode(Ping(1, pad=size)), b"", size=size)
    if way == 1:
        spec = TensorSpec("x", "uint8", (size,), size)
        return seal(msgspec.msgpack.encode(Answer(RequestId(1), 1, "plain", (spec,), ())), b"", size=size)
    name, bomb = chance.choice(list(BOMBS.items()))
    spec = TensorSpec("x", "uint8", (2 << 20,), len(bomb))
    return seal(msgspec.msgpack.encode(Answer(RequestId(1), 1, name, (spec,), ())), bomb)


def payload_of_another_size(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    payload = frame[head:] + bytes(200)
    return seal(frame[PREFIX:head], payload[: chance.randrange(len(payload))])


def garbage(chance: Chance) -> Stream:
    noise = chance.randbytes(chance.randrange(1, 300))
    start = chance.choice([b"", b"CTWR", b"CTWR\x01\x00", b"CTWR\x01\x00\x40\x00\x00\x00"])
    return Stream(start + noise)


def placed_without_memory(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    return Stream(placed(bytes(frame[:head]), chance.choice([0, 1, 4096, 2**63 - 1])))


def random_header(chance: Chance) -> Stream:
    return seal(chance.randbytes(chance.randrange(60)), b"")


def header_bytes_changed(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    header = Stream(frame[PREFIX:head])
    for _ in range(chance.randint(1, 3)):
        header[chance.randrange(len(header))] = chance.choice([0, 0x7F, 0x80, 0xC0, 0xDD, 0xFF, chance.randrange(256)])
    return seal(bytes(header), frame[head:])


ODD: list[Any] = [
    -1, 0, 1, 7, 255, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1, 1.5, math.nan, math.inf, None, True, b"bytes",
    "", "object", "float64", "bfloat16", "lz4", "zstd", "plain",
    [], [0], [2**40, 2**40], [0, 2**62, 2**62, 2**62], [1] * 40, {}, {"a": 1},
]  # fmt: skip


def header_values_changed(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    header = msgspec.msgpack.decode(frame[PREFIX:head])
    at = header
    while True:
        index = chance.randrange(len(at))
        if not (isinstance(at[index], list) and at[index] and chance.random() < 0.8):
            break
        at = at[index]
    change = chance.randrange(4)
    if change == 0:
        del at[index]
    elif change == 1:
        at.insert(index, chance.choice(ODD))
    else:
        at[index] = chance.choice(ODD)
    return seal(msgspec.msgpack.encode(header), frame[head:])


def payload_changed(chance: Chance) -> Stream:
    frame, head = chance.choice(CORPUS)
    damaged = Stream(frame)
    for _ in range(chance.randint(1, 6)):
        if head < len(frame):
            damaged[chance.randrange(head, len(frame))] = chance.randrange(256)
    return damaged


WAYS: list[Callable[[Chance], Stream]] = [
    truncated,
    bits_flipped,
    other_version,
    oversize,
    payload_of_another_size,
    garbage,
    placed_without_memory,
    random_header,
    header_bytes_changed,
    header_values_changed,
    payload_changed,
]


def receive(reader: FrameReader, stream: bytes, chance: Chance) -> Iterator[Frame]:
    """The frames of a stream that arrives in pieces cut at random. Raises FrameError, at its end too."""
    at = 0
    while at < len(stream):
        buffer = reader.get_buffer()
        assert buffer
        took = min(len(buffer), len(stream) - at, chance.choice([1, 10, 100, 10_000, 10_000]))
        buffer[:took] = stream[at : at + took]
        yield from reader.buffer_updated(took)
        at += took
    reader.end()


def outcome(stream: bytes, chance: Chance) -> str:
    """What becomes of a stream; fails on any exception but ours and on any message that is not a correct one."""
    try:
        frames = list(receive(FrameReader(LIMIT), stream, chance))
    except FrameError:
        return "FrameError"
    for message, payloads in frames:
        # The message is one that could have been sent, and means the same at the next hop.
        again = b"".join(encode(message, payloads))
        assert list(receive(FrameReader(LIMIT), again, chance)) == [(message, payloads)]
        if isinstance(message, Infer | Answer):
            try:
                arrays = tensors(message, payloads)
            except CodecError:
                return "CodecError"
            assert [array.shape for array in arrays] == [spec.shape for spec in message.tensors]
            assert sum(array.nbytes for array in arrays) <= LIMIT
    return "message"


REACHED: dict[Callable[[Chance], Stream], set[str]] = {
    truncated: {"FrameError"},
    other_version: {"FrameError"},
    oversize: {"FrameError"},
    garbage: {"FrameError"},
    placed_without_memory: {"FrameError"},
    random_header: {"FrameError"},
    bits_flipped: {"FrameError", "CodecError", "message"},
    payload_of_another_size: {"FrameError", "message"},
    header_bytes_changed: {"FrameError", "CodecError", "message"},
    header_values_changed: {"FrameError", "CodecError", "message"},
    payload_changed: {"CodecError", "message"},
}
"""What each way of going wrong must lead to over many cases, and to nothing else."""


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_ten_thousand_streams_that_went_wrong(way: Callable[[Chance], Stream]) -> None:
    chance = Chance(way.__name__)
    assert {outcome(bytes(way(chance)), chance) for _ in range(10_000)} == REACHED[way]


def test_damage_to_a_head_never_passes() -> None:
    chance = Chance(11)
    for frame, head in CORPUS:
        for _ in range(20):
            damaged = Stream(frame)
            damaged[chance.randrange(head)] ^= 1 << chance.randrange(8)
            assert outcome(bytes(damaged), chance) == "FrameError"


def test_good_streams_arrive_however_they_are_cut() -> None:
    chance = Chance(12)
    whole = {frame: list(receive(FrameReader(LIMIT), frame, chance)) for frame, _ in CORPUS}
    for _ in range(300):
        sent = [chance.choice(CORPUS)[0] for _ in range(chance.randint(1, 20))]
        expected = [received for frame in sent for received in whole[frame]]
        assert list(receive(FrameReader(LIMIT), b"".join(sent), chance)) == expected


@pytest.mark.slow
def test_nothing_is_allocated_beyond_the_limit() -> None:
    """Python's and numpy's allocations are counted; the reader's own fixed buffer exists before counting begins.

    Receiving may hold one frame; unpacking its tensors once more, and the bytes of one of them between
    decompressing and unshuffling. Everything that was declared larger is at least 100 times the allowance.
    """
    chance = Chance(13)
    allowance = 3 * LIMIT + 32 * 1024
    for way in WAYS:
        for _ in range(300):
            stream = bytes(way(chance))
            reader = FrameReader(LIMIT)
            tracemalloc.start()
            try:
                frames: list[tuple[Message, list[memoryview]]] = []
                for piece in [stream[at : at + 4096] for at in range(0, len(stream), 4096)]:
                    reader.get_buffer()[: len(piece)] = piece
                    frames += reader.buffer_updated(len(piece))
                for message, payloads in frames:
                    if isinstance(message, Infer | Answer):
                        tensors(message, payloads)
            except (FrameError, CodecError):
                pass
            finally:
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            assert peak <= allowance, way.__name__
