"""Whatever a body holds, it is read or refused by a typed error, and takes no more memory than its size explains."""

import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_x import TwoX

from cutwater.api.http.reading import read_infer
from cutwater.api.http.writing import wishes
from cutwater.api.requests import Contract, terms
from cutwater.errors import InputError

MODELS = ("two_bool", "two_uint8", "two_int64", "two_float16", "two_bfloat16", "two_large", "shout", "encoded", "mixed")
CONTRACTS = {name: Contract(TwoX().model(name)) for name in MODELS}

wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, width=32)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
sizes = st.sampled_from([0, 1, 2, 3, 4, 8, 2**31, 2**40, 2**63, -1])
parameters = st.fixed_dictionaries({}, optional={"binary_data_size": sizes, "shared_memory_region": wild}) | wild
tensors = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "text", "encoded", "a", "b"]), "shape": st.lists(sizes, max_size=4)},
    optional={
        "datatype": st.sampled_from(["BOOL", "UINT8", "INT32", "INT64", "FP16", "FP32", "BF16", "BYTES", "FP8"]),
        "parameters": parameters,
        "data": wild,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors | wild, max_size=3)},
    optional={
        "id": wild,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["y", "sum"]), "parameters": wild}), max_size=2
        ),
        "parameters": st.fixed_dictionaries(
            {}, optional={"timeout": wild, "priority": wild, "binary_data_output": wild}
        ),
    },
)


def read(model: str, body: bytes, length: bytes | None) -> None:
    contract = CONTRACTS[model]
    try:
        request, feeds, picture = read_infer(contract, body, length, 2**20)
        wishes(contract, request)
        terms(request.parameters)
    except InputError as error:
        assert error.status < 500 or error.status == 501
        return
    assert picture is not None or feeds.keys() == contract.inputs.keys()
    for name, array in feeds.items():
        assert array.dtype == contract.inputs[name].datatype.stored


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(model=st.sampled_from(MODELS), request=requests | wild, tail=st.binary(max_size=40), shift=st.integers(-2, 2))
def test_requests_of_any_content(model: str, request: Any, tail: bytes, shift: int) -> None:
    head = msgspec.json.encode(request)
    read(model, head, None)
    read(model, head + tail, str(len(head) + shift).encode())


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(model=st.sampled_from(MODELS), body=st.binary(max_size=60), length=st.none() | st.binary(max_size=4))
def test_bodies_of_any_bytes(model: str, body: bytes, length: bytes | None) -> None:
    read(model, body, length)
    read(model, body, b"0")


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(at=st.integers(0, 200), flip=st.integers(1, 255), cut=st.integers(0, 200))
def test_good_requests_with_one_byte_changed_or_cut_short(at: int, flip: int, cut: int) -> None:
    x = np.ones((1, 2, 2), np.float32)
    head = msgspec.json.encode(
        {"inputs": [{"name": "x", "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": 16}}]}
    )
    body = bytearray(head + x.tobytes())
    body[at % len(body)] ^= flip
    read("two_large", bytes(body), str(len(head)).encode())
    read("two_large", bytes(body[:cut]), str(len(head)).encode())


@pytest.mark.parametrize("shape", [[2**20, 2**20], [2**40], [2**13, 2**13, 2**13], [1, 2**39]])
def test_a_declared_shape_allocates_nothing(shape: list[int]) -> None:
    for given_ in (
        {"datatype": "FP32", "parameters": {"binary_data_size": 16}},
        {"datatype": "FP32", "data": [1.0]},
        {"datatype": "BYTES", "parameters": {"binary_data_size": 16}},
    ):
        tracemalloc.start()
        for model, name in (("two_large", "x"), ("shout", "text")):
            head = msgspec.json.encode({"inputs": [{"name": name, "shape": shape, **given_}]})
            read(model, head + bytes(16), str(len(head)).encode())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20
