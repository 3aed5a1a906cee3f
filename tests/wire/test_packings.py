"""Packing loses nothing, never adds a byte, and unpacking believes nothing it is told."""

import subprocess
import sys

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cutwater.errors import CodecError
from cutwater.wire.packings import PACKINGS, get_packing

packings = st.sampled_from(sorted(PACKINGS))
RAMP = np.arange(40_000, dtype=np.float32).view(np.uint8).data
ZEROS = memoryview(bytes(4096))


@given(packings, st.sampled_from([1, 2, 4, 8, 16]), st.binary(max_size=64), st.integers(0, 40))
def test_bytes_come_back_as_they_were(name: str, itemsize: int, seed: bytes, repeats: int) -> None:
    data = memoryview(seed * itemsize * repeats)
    packed = memoryview(get_packing(name).pack(data, itemsize))
    assert len(packed) <= len(data)
    assert get_packing(name).unpack(packed, len(data), itemsize) == data


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_what_repeats_shrinks_and_what_does_not_travels_as_it_is(name: str) -> None:
    noise = np.random.default_rng(0).bytes(4096)
    assert len(get_packing(name).pack(ZEROS, 4)) < 64
    assert get_packing(name).pack(memoryview(noise), 4) == noise


def test_small_tensors_are_left_alone() -> None:
    scale = memoryview(bytes(4))
    assert all(packing.pack(scale, 4) is scale for packing in PACKINGS.values())


def test_zstd_finds_the_order_in_numbers_that_differ_in_their_low_bytes() -> None:
    plain = zstandard.ZstdCompressor(level=1).compress(RAMP)
    assert len(get_packing("zstd").pack(RAMP, 4)) < 0.7 * len(plain)


@pytest.mark.parametrize("name", ["plain", "lz4", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 2**40])
def test_another_size_than_declared_is_refused(name: str, size: int) -> None:
    packed = memoryview(get_packing(name).pack(ZEROS, 1))
    with pytest.raises(CodecError):
        get_packing(name).unpack(packed, size, 1)


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_damaged_bytes_are_refused_or_have_the_declared_size(name: str) -> None:
    steps = np.repeat(np.arange(2000, dtype=np.float32), 20).view(np.uint8).data
    packed = bytearray(get_packing(name).pack(steps, 4))
    refused = 0
    for at in range(0, len(packed), 97):
        packed[at] ^= 0x55
        try:
            assert len(get_packing(name).unpack(memoryview(packed), len(steps), 4)) == len(steps)
        except CodecError:
            refused += 1
        packed[at] ^= 0x55
    assert refused > 0


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    zstd_bomb = zstandard.ZstdCompressor(level=1).compress(bytes(1 << 26))
    lz4_bomb = lz4.block.compress(bytes(1 << 24), store_size=False)
    with pytest.raises(CodecError, match="states 67108864 bytes"):
        get_packing("zstd").unpack(memoryview(zstd_bomb), 1 << 16, 4)
    with pytest.raises(CodecError, match="does not unpack to"):
        get_packing("lz4").unpack(memoryview(lz4_bomb), 1 << 17, 4)


def test_a_zstd_frame_must_state_its_size_and_end_the_tensor() -> None:
    unstated = zstandard.ZstdCompressor(write_content_size=False).compress(ZEROS)
    followed = get_packing("zstd").pack(ZEROS, 1) + b"more"
    for packed in (unstated, followed):
        with pytest.raises(CodecError):
            get_packing("zstd").unpack(memoryview(packed), 4096, 1)


@pytest.mark.slow
def test_a_worker_that_compresses_nothing_loads_no_compressor() -> None:
    script = (
        "import sys, numpy as np; from cutwater.wire.codecs.registry import get_codec;"
        "from cutwater.wire.tensors import pack;"
        "pack([('x', 'float32', get_codec('raw').convert(np.zeros(999, np.float32))[0])], 'plain');"
        "print({'lz4', 'zstandard', 'ml_dtypes', 'onnx'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


def test_an_unknown_packing_is_named_beside_the_known() -> None:
    with pytest.raises(CodecError, match="'gzip'; there are plain, lz4, zstd"):
        get_packing("gzip")
