"""Arrays to and from the protocol's bytes and values, whichever door they came by."""

import numpy as np
import pytest

from cutwater.api.classes import largest
from cutwater.api.datatypes import (
    DATATYPES,
    datatype_named,
    datatype_of,
    from_bytes,
    from_json,
    from_values,
    to_bytes,
    to_values,
)
from cutwater.errors import BadTensor

NUMBERS = [each for each in DATATYPES if each.name != "BYTES"]


@pytest.mark.parametrize("datatype", NUMBERS, ids=lambda each: each.name)
def test_numbers_survive_bytes_and_values(datatype: object) -> None:
    given = datatype_named(datatype.name)  # type: ignore[attr-defined]
    array = np.arange(6).reshape(2, 3).astype(given.stored)
    if given.name == "BF16":
        array = (array << 7).astype(np.uint16)
    data = to_bytes(given, array)
    back = from_bytes("x", given, [2, 3], data)
    np.testing.assert_array_equal(back, array)
    assert not back.flags.writeable
    np.testing.assert_array_equal(from_values("x", given, [2, 3], to_values("x", given, array)), array)


def test_an_output_that_does_not_lie_in_rows_is_put_in_rows() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert bytes(to_bytes(datatype_named("FP32"), array)) == np.ascontiguousarray(array).tobytes()


def test_inputs_are_views_of_what_came() -> None:
    body = bytearray(np.arange(4, dtype=np.int32).tobytes())
    array = from_bytes("x", datatype_named("INT32"), [4], body)
    body[0] = 9
    assert array[0] == 9


def test_what_the_protocol_has_no_word_for() -> None:
    with pytest.raises(BadTensor, match="no datatype for complex64"):
        datatype_of("complex64")
    with pytest.raises(BadTensor, match="datatype 'FP8' does not exist; use one of BOOL, UINT8"):
        datatype_named("FP8")


@pytest.mark.parametrize(
    ("number", "bits"),
    [
        (1.0, 0x3F80),
        (-0.0, 0x8000),
        (1.00390625, 0x3F80),
        (1.01171875, 0x3F82),
        (3.4e38, 0x7F80),
        (float("inf"), 0x7F80),
        (float("nan"), 0x7FC0),
    ],
)
def test_bfloat16_is_rounded_to_nearest_and_ties_to_even(number: float, bits: int) -> None:
    assert from_values("x", datatype_named("BF16"), [1], [number])[0] == bits


def test_values_must_be_as_many_as_the_shape_declares_and_fit() -> None:
    with pytest.raises(BadTensor, match=r"shape \[2\] declares 2 elements, and 3 came"):
        from_values("x", datatype_named("INT32"), [2], [1, 2, 3])
    with pytest.raises(BadTensor, match="input 'x': "):
        from_values("x", datatype_named("INT8"), [1], [200])


def test_json_takes_flat_and_nested_lists_with_any_space_between() -> None:
    for data in (b"[1,2,3,4]", b"[[1,2],[3,4]]", b" [ [ 1, 2 ],\n\t[3, 4] ] "):
        found = from_json("x", datatype_named("INT8"), [2, 2], data.strip())
        assert found.tolist() == [[1, 2], [3, 4]]
        assert found.dtype == np.int8


def test_the_largest_of_each_row_come_first_and_of_equal_ones_the_first() -> None:
    scores = np.array([[1, 3, 3], [9, 0, 8]], np.int64)
    found = largest("y", scores, 2, ["ash", "birch"])
    assert found.tolist() == [[b"3.000000:1:birch", b"3.000000:2"], [b"9.000000:0:ash", b"8.000000:2"]]
    assert largest("y", scores, 10, []).shape == (2, 3)
    with pytest.raises(BadTensor, match="output 'y': classification wants rows of scores"):
        largest("y", np.array(3.0), 1, [])
