"""What nobody should send: each gets a status that names the field, and others are served as before."""

import gzip
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.message import DecodeError
from grpc_bed import LIMIT, Bed, serving, two_x
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.messages import parse_infer, varint
from cutwater.api.grpc.options import GrpcOptions
from cutwater.errors import InputError

Change = Callable[[pb.ModelInferRequest], None]


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with serving(GrpcOptions(max_request=LIMIT)) as found:
        yield found


def _typed(field: str, *values: object) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        del request.raw_input_contents[:]
        getattr(request.inputs[0].contents, field).extend(values)

    return change


def _shape(*sizes: int) -> Change:
    return lambda request: request.inputs[0].shape.__setitem__(slice(None), sizes)


WRONG: dict[str, tuple[Change, str]] = {
    "raw too short": (lambda r: r.raw_input_contents.__setitem__(0, b"\0" * 15), "takes 16 bytes, and 15 were sent"),
    "raw too long": (lambda r: r.raw_input_contents.__setitem__(0, b"\0" * 17), "takes 16 bytes, and 17 were sent"),
    "nothing at all": (lambda r: r.ClearField("raw_input_contents"), "declares 4 elements, and 0 came"),
    "raw and typed": (lambda r: r.inputs[0].contents.fp32_contents.append(1), "input 'x' has contents, and there"),
    "two raw for one": (lambda r: r.raw_input_contents.append(b"x"), "raw_input_contents has 2 tensors"),
    "negative": (_shape(1, -4), "dimension 1 is 4, not -4"),
    "negative batch": (_shape(-1, 4), "input 'x': shape [-1, 4] has a negative size"),
    "huge": (_shape(2**62, 4), "comes to more than"),
    "many dimensions": (_shape(*[1] * 500), "has 2 dimensions"),
    "wrong datatype": (lambda r: setattr(r.inputs[0], "datatype", "INT32"), "input 'x' is FP32, not INT32"),
    "no datatype": (lambda r: setattr(r.inputs[0], "datatype", "FP31"), "datatype 'FP31' does not exist"),
    "wrong field": (_typed("int_contents", 1, 2, 3, 4), "belong in fp32_contents, not in int_contents"),
    "too few": (_typed("fp32_contents", 1, 2, 3), "declares 4 elements, and 3 came"),
    "wrong input": (lambda r: setattr(r.inputs[0], "name", "z"), "has no input 'z'"),
    "twice": (
        lambda r: (r.inputs.append(r.inputs[0]), r.raw_input_contents.append(r.raw_input_contents[0])),  # type: ignore[func-returns-value]
        "input 'x' is given twice",
    ),
    "no input": (lambda r: (r.ClearField("inputs"), r.ClearField("raw_input_contents")), "also wants input 'x'"),
    "wrong output": (lambda r: r.outputs.add(name="q"), "has no output 'q'"),
    "output twice": (lambda r: (r.outputs.add(name="y"), r.outputs.add(name="y")), "'y' is asked for twice"),
    "many outputs": (lambda r: [r.outputs.add(name="y") for _ in range(300)], "outputs has 300 entries"),
    "long id": (lambda r: setattr(r, "id", "x" * 2000), "id has 2000 characters"),
    "timeout": (lambda r: setattr(r.parameters["timeout"], "int64_param", -1), "parameter 'timeout'"),
    "priority": (lambda r: setattr(r.parameters["priority"], "string_param", "high"), "parameter 'priority'"),
}  # fmt: skip


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_field_is_named(bed: Bed, how: str) -> None:
    change, says = WRONG[how]
    request = two_x(1, 2, 3, 4)
    change(request)
    error = bed.refusal(request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in (error.details() or "")


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda r: setattr(r, "model_name", "x" * 100_000), "NOT_FOUND", "knows no model"),
        (lambda r: setattr(r, "model_version", "2"), "NOT_FOUND", "has version 1 only"),
        (lambda r: setattr(r.parameters["sequence_id"], "int64_param", 7), "UNIMPLEMENTED", "sequence"),
        (
            lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "x"),
            "UNIMPLEMENTED",
            "shared memory",
        ),
    ],
)
def test_what_is_not_there_is_told_apart(bed: Bed, change: Change, code: str, says: str) -> None:
    request = two_x(1, 2, 3, 4)
    change(request)
    error = bed.refusal(request)
    assert error.code() is grpc.StatusCode[code]
    assert says in (error.details() or "")


def test_small_numbers_that_are_too_large_are_refused(bed: Bed) -> None:
    request = pb.ModelInferRequest(model_name="two_int8")
    request.inputs.add(name="x", datatype="INT8", shape=[1, 4]).contents.int_contents.extend([1, 2, 3, 300])
    assert bed.refusal(request).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_half_floats_have_no_typed_contents(bed: Bed) -> None:
    request = pb.ModelInferRequest(model_name="two_float16")
    request.inputs.add(name="x", datatype="FP16", shape=[1, 4]).contents.fp32_contents.extend([1, 2, 3, 4])
    assert "send it in raw_input_contents" in (bed.refusal(request).details() or "")


def test_typed_contents_are_computed_with(bed: Bed) -> None:
    request = pb.ModelInferRequest(model_name="two_uint8")
    request.inputs.add(name="x", datatype="UINT8", shape=[1, 4]).contents.uint_contents.extend([1, 2, 3, 100])
    assert list(bed.infer(request).raw_output_contents[0]) == [2, 4, 6, 200]
    request = pb.ModelInferRequest(model_name="shout")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"hey")
    assert bed.infer(request).raw_output_contents[0] == b"\x03\0\0\0HEY"


@pytest.mark.parametrize(
    "message", [b"\xff", b"\x0a\x7f", b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", b"\x80" * 30, b"\x0a\x02\xff\xfe"]
)
def test_garbage_is_the_clients_fault(bed: Bed, message: bytes) -> None:
    assert bed.refusal(message).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_texts_that_lie_about_their_lengths_are_refused(bed: Bed) -> None:
    request = pb.ModelInferRequest(model_name="shout")
    request.inputs.add(name="text", datatype="BYTES", shape=[2])
    for raw in (b"", b"\x01\0\0\0a", b"\xff\xff\xff\xffa\0\0\0\0", b"\0" * 8 + b"x"):
        request.raw_input_contents[:] = [raw]
        assert "input 'text'" in (bed.refusal(request).details() or "")


def test_a_message_above_the_limit_is_refused(bed: Bed) -> None:
    error = bed.refusal(two_x(*[0] * (LIMIT // 4)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(LIMIT) in (error.details() or "")


def test_a_message_that_unpacks_to_more_than_the_limit_takes_no_memory(bed: Bed) -> None:
    before = psutil.Process().memory_info().rss
    request = two_x(1, 2, 3, 4)
    request.raw_input_contents[0] = bytes(200 * LIMIT)
    message = request.SerializeToString()
    assert len(gzip.compress(message, 1)) < LIMIT
    error = bed.refusal(message, compression=grpc.Compression.Gzip)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert psutil.Process().memory_info().rss - before < 4 * len(message)


_parameters = st.builds(
    pb.InferParameter,
    int64_param=st.integers(-(2**63), 2**63 - 1) | st.none(),
    string_param=st.text(max_size=3) | st.none(),
)
_contents = st.builds(
    pb.InferTensorContents,
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    fp32_contents=st.lists(st.floats(width=32), max_size=4),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
)
_inputs = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["x", "text", "a", "b", "encoded", ""]) | st.text(max_size=2),
    datatype=st.sampled_from(["FP32", "INT32", "BYTES", "BOOL", "FP16", "BF16", "UINT8", ""]) | st.text(max_size=2),
    shape=st.sampled_from([[1, 4], [1], [2], [], [3, 8, 8]]) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    parameters=st.dictionaries(st.sampled_from(["p", "shared_memory_region"]), _parameters, max_size=1),
    contents=st.none() | _contents,
)
_requests = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from(
        ["two_float32", "two_int32", "two_float16", "two_bool", "shout", "mixed", "encoded", "trees", "two_large"]
    ),
    model_version=st.sampled_from(["", "1", "2"]),
    id=st.text(max_size=3),
    parameters=st.dictionaries(st.sampled_from(["timeout", "priority", "p", "sequence_id"]), _parameters, max_size=2),
    inputs=st.lists(_inputs, max_size=2),
    outputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferRequestedOutputTensor,
            name=st.sampled_from(["y", "loud", "scores", "q"]),
            parameters=st.dictionaries(st.just("classification"), _parameters, max_size=1),
        ),
        max_size=2,
    ),
    raw_input_contents=st.lists(st.sampled_from([bytes(16), b"\1\0\0\0a", b""]) | st.binary(max_size=16), max_size=2),
)
_known = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_requests, min_size=5, max_size=5))
def test_no_request_breaks_anything(bed: Bed, requests: list[pb.ModelInferRequest]) -> None:
    async def story() -> list[grpc.StatusCode]:
        async with bed.channel() as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            return [await call(each.SerializeToString()).code() for each in requests]

    assert set(bed.run(story())) <= _known


@given(_requests, st.binary(max_size=5), st.integers(0, 200))
def test_a_message_taken_apart_by_hand_is_what_protobuf_reads(
    request: pb.ModelInferRequest, junk: bytes, cut: int
) -> None:
    message = request.SerializeToString()
    head, raw = parse_infer(message)
    assert [bytes(each) for each in raw] == list(request.raw_input_contents)
    del request.raw_input_contents[:]
    assert head.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)
    broken = message[:cut] + junk + message[cut:]
    try:
        wanted = pb.ModelInferRequest.FromString(broken)
    except DecodeError:
        with pytest.raises(InputError):
            parse_infer(broken)
    else:
        try:
            head, raw = parse_infer(broken)
        except InputError as error:
            assert "wire type" in str(error)
        else:
            assert [bytes(each) for each in raw] == list(wanted.raw_input_contents)


@given(st.integers(0, 2**40))
def test_numbers_are_written_as_protobuf_writes_them(number: int) -> None:
    assert b"\x10" + varint(number) == pb.StatisticDuration(ns=number).SerializeToString() or number == 0


def test_large_tensors_are_not_copied_on_their_way_in() -> None:
    request = two_x(*np.arange(1000))
    message = request.SerializeToString()
    _, (raw,) = parse_infer(message)
    assert raw.obj is message


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\U0001f986", "\x00"])
def test_a_name_as_long_as_a_message_is_not_said_in_full(bed: Bed, letter: str) -> None:
    name = letter * 200_000
    request = two_x(1, 2, 3, 4, model=name)
    assert bed.refusal(request).code() == grpc.StatusCode.NOT_FOUND
    request = two_x(1, 2, 3, 4)
    request.inputs[0].name = name
    error = bed.refusal(request)
    assert (error.code(), "no input" in error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert len(error.details()) < 1000
