"""State dicts are read; programs that pretend to be state dicts are refused and never run."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from cutwater.errors import BadModel
from cutwater.zoo.state_dict import load_state_dict

NUMBERS = np.arange(12, dtype=np.float32)
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def tensor_pickle(
    offset: int = 0, shape: tuple[int, ...] = (3, 4), strides: tuple[int, ...] = (4, 1), legacy: bool = False
) -> bytes:
    """The pickle PyTorch writes for ``OrderedDict(weight=...)``, assembled opcode by opcode."""
    view = b"N" if legacy else b""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x0c" + view + b"tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape) + numbers(strides)
    return (
        b"\x80\x02ccollections\nOrderedDict\n)R(X\x06\x00\x00\x00weight"
        + tensor
        + b"\x89ccollections\nOrderedDict\n)RtRu."
    )


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def zip_file(
    path: Path, entries: bytes, storage: bytes = NUMBERS.tobytes(), compression: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", entries)
        archive.writestr("model/byteorder", "little")
        archive.writestr("model/data/0", storage)
    return path


def legacy_file(path: Path, entries: bytes, storage: bytes = NUMBERS.tobytes(), count: int = 12) -> Path:
    platform = {"protocol_version": PROTOCOL, "little_endian": True}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, platform))
    path.write_bytes(head + entries + pickle.dumps(["0"], 2) + struct.pack("<q", count) + storage)
    return path


def test_reads_a_zip_state_dict(tmp_path: Path) -> None:
    state = load_state_dict(zip_file(tmp_path / "model.pt", tensor_pickle()))
    assert list(state) == ["weight"]
    np.testing.assert_array_equal(state["weight"], NUMBERS.reshape(3, 4))
    assert state["weight"].dtype == np.float32


def test_reads_a_legacy_state_dict(tmp_path: Path) -> None:
    state = load_state_dict(legacy_file(tmp_path / "model.pth", tensor_pickle(legacy=True)))
    np.testing.assert_array_equal(state["weight"], NUMBERS.reshape(3, 4))


def test_reads_a_transposed_window_of_a_storage(tmp_path: Path) -> None:
    state = load_state_dict(zip_file(tmp_path / "model.pt", tensor_pickle(offset=4, shape=(4, 2), strides=(1, 4))))
    np.testing.assert_array_equal(state["weight"], NUMBERS.reshape(3, 4)[1:].T)


def test_arrays_cannot_be_written_to(tmp_path: Path) -> None:
    state = load_state_dict(zip_file(tmp_path / "model.pt", tensor_pickle()))
    with pytest.raises(ValueError, match="read-only"):
        state["weight"][0, 0] = 1


class Malice:
    """Pickles into a call of os.system."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("write", [zip_file, legacy_file])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path: Path, write: object, protocol: int) -> None:
    proof = tmp_path / "proof"
    assert callable(write)
    path = write(tmp_path / "model.pt", pickle.dumps({"weight": Malice(proof)}, protocol))
    with pytest.raises(BadModel, match="refused") as caught:
        load_state_dict(path)
    assert str(path) in str(caught.value)
    assert not proof.exists()


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    path = zip_file(tmp_path / "model.pt", pickle.dumps({"weight": Malice(tmp_path / "proof")}, 2))
    with pytest.raises(BadModel, match=r"names (posix|nt)\.system"):
        load_state_dict(path)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeK\x01sb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__call__K\x01sb.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x06\x00\x00\x00updateK\x01sb.",
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x02(X\x06\x00\x00\x00moduleX\x01\x00\x00\x000tQ.",
    ],
    ids=[
        "eval", "another torch function", "stack global", "inst", "newobj", "extension", "build on a storage type",
        "build on the rebuilder", "build on a class", "memo bomb", "unknown persistent id",
    ],
)  # fmt: skip
def test_every_other_way_out_of_the_pickle_is_closed(tmp_path: Path, program: bytes) -> None:
    with pytest.raises(BadModel):
        load_state_dict(zip_file(tmp_path / "model.pt", program))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(1, (3, 4), (4, 1)), (0, (4, 4), (4, 1)), (0, (2,), (-1,)), (-1, (1,), (1,)), (0, (2, 2), (100, 1))],
)
def test_a_tensor_never_reaches_outside_its_storage(
    tmp_path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    with pytest.raises(BadModel):
        load_state_dict(zip_file(tmp_path / "model.pt", tensor_pickle(offset, shape, strides)))


def test_a_storage_shorter_than_announced_is_named_truncated(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="truncated"):
        load_state_dict(zip_file(tmp_path / "model.pt", tensor_pickle(), NUMBERS.tobytes()[:-4]))


@pytest.mark.parametrize("write", [zip_file, legacy_file])
def test_every_truncation_of_a_file_is_a_typed_error(tmp_path: Path, write: object) -> None:
    assert callable(write)
    whole = write(tmp_path / "whole.pt", tensor_pickle(legacy=write is legacy_file)).read_bytes()
    path = tmp_path / "cut.pt"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadModel):
            load_state_dict(path)


def test_every_flipped_byte_is_a_typed_error_or_harmless(tmp_path: Path) -> None:
    whole = legacy_file(tmp_path / "whole.pth", tensor_pickle(legacy=True)).read_bytes()
    path = tmp_path / "flipped.pth"
    refused = 0
    for index in range(len(whole) - NUMBERS.nbytes):
        for flip in (0x01, 0x20, 0xFF):
            path.write_bytes(whole[:index] + bytes([whole[index] ^ flip]) + whole[index + 1 :])
            try:
                load_state_dict(path)
            except BadModel:
                refused += 1
    assert refused > len(whole)


@pytest.mark.parametrize("entries", [[1, 2], {"weight": 3}, OrderedDict(a=None), "text"])
def test_anything_but_tensors_by_name_is_not_a_state_dict(tmp_path: Path, entries: object) -> None:
    with pytest.raises(BadModel, match=r"state_dict|state dict"):
        load_state_dict(zip_file(tmp_path / "model.pt", pickle.dumps(entries, 2)))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = zip_file(tmp_path / "model.pt", tensor_pickle(), bytes(10_000_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(BadModel, match="compressed"):
        load_state_dict(path)


def test_an_archive_of_something_else_and_a_missing_file_are_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "other.zip").write_bytes(stream.getvalue())
    with pytest.raises(BadModel, match=r"other\.zip.*no data\.pkl"):
        load_state_dict(tmp_path / "other.zip")
    with pytest.raises(BadModel, match="cannot be read"):
        load_state_dict(tmp_path / "missing.pt")
