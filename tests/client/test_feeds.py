"""What callers give, as named arrays; the model is asked only where something was left out."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutwater.client.feeds import named
from cutwater.client.result import ModelInfo, TensorInfo
from cutwater.errors import BadPicture, BadTensor
from cutwater.frameworks.base import Array

PAIR = ModelInfo("pair", (TensorInfo("a", "INT64", (-1,)), TensorInfo("b", "FP16", (2, 2))), ())
ONE = ModelInfo("one", (TensorInfo("x", "FP32", (1, 2)),), ())


def feeds(given: Any, info: ModelInfo | None = None) -> dict[str, Array]:
    async def describe() -> ModelInfo:
        assert info is not None, "nothing was left out"
        return info

    return asyncio.run(named(given, describe))


class Foreign:
    """Another library's array."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.arange(3, dtype=np.int8)


def test_named_arrays_go_as_they_are() -> None:
    x = np.zeros((2, 2), np.float16)
    assert feeds({"x": x})["x"] is x
    assert feeds({"x": Foreign()})["x"].dtype == np.int8


def test_numbers_take_the_type_of_their_input() -> None:
    found = feeds({"a": [1, 2], "b": ((1, 2), (3, 4))}, PAIR)
    assert (found["a"].dtype, found["b"].dtype) == (np.int64, np.float16)
    assert feeds([[1, 2]], ONE)["x"].dtype == np.float32


def test_pictures_go_as_bytes(tmp_path: Path) -> None:
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"\xff\xd8")
    for given in (b"\xff\xd8", bytearray(b"\xff\xd8"), file, str(file)):
        (found,) = feeds(given, ONE).values()
        assert (found.shape, found.tolist()) == ((1,), [b"\xff\xd8"])
    with pytest.raises(BadPicture, match=r"dog\.jpg: cannot be read"):
        feeds({"x": tmp_path / "dog.jpg"})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([1, 2], "pair has 2 inputs; give a mapping with 'a', 'b'"),
        ({"c": [1]}, "pair has no input 'c'"),
        ({"a": [[1], [2, 3]]}, "input 'a' is no array"),
        ({"a": ["one"]}, "input 'a' is no array"),
        ({"a": object()}, "no array but a object"),
    ],
)
def test_what_is_no_feed_is_said_by_name(given: Any, why: str) -> None:
    with pytest.raises(BadTensor, match=why):
        feeds(given, PAIR)
