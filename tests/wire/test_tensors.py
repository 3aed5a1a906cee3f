"""Arrays cross a frame bit by bit, whatever their type, shape and packing, and plain ones without a copy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from cutwater.errors import BadTensor, CodecError
from cutwater.units import RequestId
from cutwater.wire.codecs.base import Array
from cutwater.wire.frames import FrameReader, encode
from cutwater.wire.message import ITEM_SIZE, Answer
from cutwater.wire.packings import PACKINGS
from cutwater.wire.tensors import pack, tensors

numpy_types = sorted(set(ITEM_SIZE) - {"bfloat16"})
any_array = st.sampled_from(numpy_types).flatmap(
    lambda name: arrays_of.arrays(name, arrays_of.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=6))
)


def through_a_frame(given_arrays: list[tuple[str, str, Array]], packing: str) -> list[Array]:
    specs, buffers = pack(given_arrays, packing)
    stream = b"".join(encode(Answer(RequestId(1), 1, packing, specs, ()), buffers))
    reader = FrameReader(1 << 20)
    frames = []
    while stream:
        buffer = reader.get_buffer()
        took = min(len(buffer), len(stream))
        buffer[:took], stream = stream[:took], stream[took:]
        frames.extend(reader.buffer_updated(took))
    [(message, payloads)] = frames
    assert isinstance(message, Answer)
    return tensors(message, payloads)


@given(st.lists(any_array, max_size=4), st.sampled_from(sorted(PACKINGS)))
def test_arrays_of_any_type_and_shape_arrive_bit_by_bit(sent: list[Array], packing: str) -> None:
    received = through_a_frame([(f"t{n}", array.dtype.name, array) for n, array in enumerate(sent)], packing)
    for before, after in zip(sent, received, strict=True):
        assert (after.dtype, after.shape, after.tobytes()) == (before.dtype, before.shape, before.tobytes())
        assert not after.flags.writeable
        assert after.flags.aligned


def test_arrays_that_lie_crosswise_or_the_other_way_round_arrive_in_order() -> None:
    crosswise = np.arange(6, dtype=np.int32).reshape(2, 3).T
    big_endian = np.array([1.5, -2.0], dtype=">f4")
    first, second = through_a_frame([("a", "int32", crosswise), ("b", "float32", big_endian)], "plain")
    assert first.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert second.tolist() == [1.5, -2.0]


def test_bfloat16_travels_as_its_bits() -> None:
    bits = np.array([0x3F80, 0xC000], np.uint16)
    specs, _ = pack([("x", "bfloat16", bits)], "plain")
    assert specs[0].dtype == "bfloat16"
    [received] = through_a_frame([("x", "bfloat16", bits)], "zstd")
    assert received.tolist() == [0x3F80, 0xC000]


def test_plain_arrays_are_neither_copied_on_the_way_out_nor_in() -> None:
    array = np.arange(100, dtype=np.float32)
    specs, [buffer] = pack([("x", "float32", array)], "plain")
    [view] = tensors(Answer(RequestId(1), 1, "plain", specs, ()), [memoryview(buffer)])
    assert np.shares_memory(view, array)


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([object()]), np.zeros(2, "datetime64[s]")])
def test_what_is_no_number_cannot_travel(array: Array) -> None:
    with pytest.raises(BadTensor, match="'x'"):
        pack([("x", array.dtype.name, array)], "plain")


def test_an_array_of_another_type_than_said_is_refused() -> None:
    with pytest.raises(BadTensor, match="'x' is float64, not float32"):
        pack([("x", "float32", np.zeros(2))], "plain")


def test_a_payload_that_does_not_unpack_names_its_tensor() -> None:
    specs, _ = pack([("features", "float32", np.zeros(1000, np.float32))], "zstd")
    with pytest.raises(CodecError, match="'features'"):
        tensors(Answer(RequestId(1), 1, "zstd", specs, ()), [memoryview(bytes(specs[0].nbytes))])
