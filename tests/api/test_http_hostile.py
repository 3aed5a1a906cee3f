"""Hostile and broken requests: each is refused by a message that names what is wrong, and others are served."""

import gzip
import struct
import zlib
from typing import Any

import msgspec
import pytest
from http_bed import Bed, number, on_bed

from cutwater.api.http.options import HttpOptions

GOOD: dict[str, Any] = {"name": "x", "shape": [1, 4], "datatype": "FP32"}


def sized(size: int, **other: Any) -> dict[str, Any]:
    return {**GOOD, "parameters": {"binary_data_size": size}, **other}


WRONG_INPUTS = [
    ({**GOOD, "name": "z"}, "model 'two_float32' has no input 'z'; known are x"),
    ({**GOOD, "datatype": "FP64"}, "input 'x' is FP32, not FP64"),
    ({**GOOD, "datatype": "FLOAT"}, "datatype 'FLOAT' does not exist; use one of BOOL, UINT8"),
    ({**GOOD, "shape": [4]}, "input 'x' has 2 dimensions like [-1, 4], not [4]"),
    ({**GOOD, "shape": [1, 5]}, "input 'x': dimension 1 is 4, not 5, in shape [1, 5]"),
    ({**GOOD, "shape": [0, 4]}, "input 'x': dimension 0 is at least 1, not 0, in shape [0, 4]"),
    ({**GOOD, "shape": [-1, 4]}, "Expected `int` >= 0 - at `$.inputs[0].shape[0]`"),
    ({**GOOD, "shape": [2**70, 4]}, "at `$.inputs[0].shape[0]`"),
    ({**GOOD, "shape": [2**40, 4], "data": []}, "input 'x': shape [1099511627776, 4] comes to more than"),
    ({**GOOD, "shape": [1] * 40}, "Expected `array` of length <= 32 - at `$.inputs[0].shape`"),
    ({**GOOD, "shape": "1,4"}, "Expected `array`, got `str` - at `$.inputs[0].shape`"),
    ({**GOOD}, "input 'x' has neither data nor a binary_data_size"),
    ({**GOOD, "data": [1, 2, 3]}, "input 'x': shape [1, 4] declares 4 elements, and the data has 3 elements"),
    ({**GOOD, "data": [[1, 2], [3, 4]]}, "input 'x': shape [1, 4] declares 4 elements, and the data has [2, 2]"),
    ({**GOOD, "data": [0] * 10**6}, "input 'x': shape [1, 4] declares 4 elements, and the data has 1000000"),
    ({**GOOD, "data": [[1, 2], [3]]}, "input 'x': data of FP32 [1, 4]: its rows differ in length"),
    ({**GOOD, "data": [1, 2, 3, "4"]}, "input 'x': data of FP32 [1, 4]: Expected `float`, got `str` - at `$[3]`"),
    ({**GOOD, "data": {"0": 1}}, "input 'x': data of FP32 [1, 4]: Expected `array`, got `object`"),
    (sized(16), "input 'x': binary_data_size is 16, and 0 bytes are left"),
    (sized(-1), "Expected `int` >= 0 - at `$.inputs[0].parameters.binary_data_size`"),
    (sized(0), "input 'x': FP32 [1, 4] takes 16 bytes, and 0 were sent"),
    (sized(0, data=[1, 2, 3, 4]), "input 'x' has both data and a binary_data_size; send one of them"),
]


@pytest.mark.parametrize(("wrong", "why"), WRONG_INPUTS)
def test_a_wrong_input_is_named(wrong: dict[str, Any], why: str) -> None:
    async def story(bed: Bed) -> None:
        said = await bed.infer("two_float32", wrong)
        assert said.status == 400
        assert why in said.error
        await bed.well()

    on_bed(story)


def test_numbers_beyond_their_datatype_are_named() -> None:
    async def story(bed: Bed) -> None:
        for datatype, dtype, value in (
            ("UINT8", "uint8", 256),
            ("INT8", "int8", -129),
            ("INT32", "int32", 2**31),
            ("INT64", "int64", 2**63),
            ("UINT64", "uint64", 2**64),
            ("INT32", "int32", 1.5),
            ("BOOL", "bool", 1),
        ):
            said = await bed.infer(f"two_{dtype}", number([0 if datatype != "BOOL" else False] * 3 + [value], datatype))
            assert said.status == 400, datatype
            assert said.error.startswith(f"input 'x': data of {datatype} [1, 4]: "), said.error
        assert (await bed.infer("two_uint64", number([0, 0, 0, 2**63 - 1], "UINT64"))).status == 200

    on_bed(story)


def test_wrong_sets_of_inputs_and_outputs_are_named() -> None:
    async def story(bed: Bed) -> None:
        a, b = number([5, 7], "INT32", "a", [2]), number([1, 2], "INT32", "b", [2])
        assert (await bed.infer("mixed", a)).error == "model 'mixed' also wants input 'b'"
        assert (await bed.infer("mixed", a, b, a)).error == "input 'a' is given twice"
        said = await bed.infer("mixed", a, b, outputs=[{"name": "product"}])
        assert said.error == "model 'mixed' has no output 'product'; known are sum, difference"
        said = await bed.infer("mixed", a, b, outputs=[{"name": "sum"}, {"name": "sum"}])
        assert said.error == "output 'sum' is asked for twice"

    on_bed(story)


def test_wrong_parameters_are_named() -> None:
    async def story(bed: Bed) -> None:
        x = number([1.0, 2.0, 3.0, 4.0])
        for parameters, status, why in (
            ({"timeout": -1}, 400, "parameter 'timeout' is a whole number from 0 up, not '-1'"),
            ({"timeout": "soon"}, 400, "parameter 'timeout' is a whole number from 0 up, not 'soon'"),
            ({"priority": 1.5}, 400, "parameter 'priority' is a whole number from 0 up, not '1.5'"),
            ({"binary_data_output": 1}, 400, "parameter 'binary_data_output' is true or false, not '1'"),
            ({"sequence_id": 7}, 501, "parameter 'sequence_id': models keep nothing between requests"),
        ):
            said = await bed.infer("two_float32", x, parameters=parameters)
            assert said.status == status
            assert why in said.error
        shared = {**GOOD, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 16}}
        said = await bed.infer("two_float32", shared)
        assert (said.status, said.error) == (
            501,
            "tensor 'x': shared memory is not offered; send tensors in the request",
        )

    on_bed(story)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"inputs": 1}', "Expected `array`, got `int` - at `$.inputs`"),
        (b"{}", "Object missing required field `inputs`"),
        (b'{"inputs": [], "id": "\xff\xfe"}', "invalid"),
        (b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, ', "truncated"),
        (b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ' + b"[" * 10**5, "nested too deep"),
        (b'{"id": ' + b'{"a":' * 10**5, "Expected `str`, got `object` - at `$.id`"),
        (b'{"more": ' + b'{"a":' * 10**5, "nested too deep"),
        (b'{"inputs": [], "parameters": {"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}}", "nested too deep"),
    ],
)
def test_broken_json_is_refused(body: bytes, why: str) -> None:
    async def story(bed: Bed) -> None:
        said = await bed.ask("/v2/models/two_float32/infer", body)
        assert said.status == 400
        assert why.lower() in said.error.lower()
        await bed.well()

    on_bed(story)


def test_nesting_deeper_than_the_shape_is_refused() -> None:
    async def story(bed: Bed) -> None:
        for depth in (3, 10**5):
            data = msgspec.Raw(b"[" * depth + b"1" + b"]" * depth)
            said = await bed.infer("two_float32", {**GOOD, "data": data})
            assert said.status == 400
        await bed.well()

    on_bed(story)


@pytest.mark.parametrize("length", ["-1", "9999999", "x", "1e3", "9" * 40, ""])
def test_a_wrong_header_length_is_named(length: str) -> None:
    async def story(bed: Bed) -> None:
        headers = {"Inference-Header-Content-Length": length}
        said = await bed.ask("/v2/models/two_float32/infer", b'{"inputs": []}', headers=headers)
        assert said.status == 400
        assert said.error.startswith("Inference-Header-Content-Length is a number of bytes up to 14, not ")

    on_bed(story)


def test_binary_data_that_does_not_add_up_is_named() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.send("two_float32", {"inputs": [sized(16)]}, bytes(20))
        assert said.error == "4 bytes follow the last input; is a binary_data_size missing?"
        said = await bed.send("two_float32", {"inputs": [sized(12)]}, bytes(12))
        assert said.error == "input 'x': FP32 [1, 4] takes 16 bytes, and 12 were sent"
        flags = sized(4, datatype="BOOL")
        assert (await bed.send("two_bool", {"inputs": [flags]}, b"\x00\x01\x02\x00")).status == 400

    on_bed(story)


@pytest.mark.parametrize(
    ("data", "shape", "why"),
    [
        (struct.pack("<I", 2**32 - 1), [1], "element 0 declares 4294967295 bytes, and 0 are left"),
        (struct.pack("<I", 3) + b"ab", [1], "element 0 declares 3 bytes, and 2 are left"),
        (struct.pack("<I", 1) + b"ab", [1], "1 bytes are left after 1 elements"),
        (b"\x00\x00", [1], "1 elements need more than the 2 bytes that were sent"),
        (bytes(8), [2**40], "1099511627776 elements need more than the 8 bytes that were sent"),
        (struct.pack("<I", 4) + bytes(4), [2], "the data ends before the length of element 1 of 2"),
    ],
)
def test_wrong_lengths_inside_of_bytes_are_named(data: bytes, shape: list[int], why: str) -> None:
    async def story(bed: Bed) -> None:
        text = {"name": "text", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        said = await bed.send("shout", {"inputs": [text]}, data)
        assert (said.status, said.error) == (400, f"input 'text': {why}")

    on_bed(story)


def test_bombs_are_defused() -> None:
    small = HttpOptions(max_request=10**6)

    async def story(bed: Bed) -> None:
        for packed, status, why in (
            (gzip.compress(bytes(10**8)), 413, "unpacks to more than the 1000000 bytes that are taken"),
            (zlib.compress(bytes(10**8)), 413, "unpacks to more than the 1000000 bytes that are taken"),
            (b"not gzip at all", 400, "the body is not what its Content-Encoding says"),
            (gzip.compress(b"{}")[:-4], 400, "it ends too early or goes on too long"),
            (gzip.compress(b"{}") + b"more", 400, "it ends too early or goes on too long"),
        ):
            said = await bed.ask("/v2/models/two_float32/infer", packed, headers={"Content-Encoding": "gzip"})
            assert said.status == status
            assert why in said.error
        said = await bed.ask("/v2/models/two_float32/infer", b"x", headers={"Content-Encoding": "br"})
        assert (said.status, said.error) == (501, "Content-Encoding 'br' is not offered; use gzip or deflate")
        await bed.well()

    on_bed(story, small)


def test_what_is_too_large_is_refused_whether_announced_or_not() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.ask("/v2/models/two_float32/infer", bytes(5000))
        assert (said.status, said.error) == (413, "a request of 5000 bytes is over the 1000 that are taken")
        reader, writer = await bed.raw()
        writer.write(
            b"POST /v2/models/two_float32/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(b"400\r\n" + bytes(0x400) + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
        repository = await bed.ask("/v2/repository/index", b'{"ready": true, "x": "' + bytes(10**5) + b'"}')
        assert repository.status == 413

    on_bed(story, HttpOptions(max_request=1000))


def test_too_much_json_is_refused_where_as_many_bytes_of_tensors_are_not() -> None:
    async def story(bed: Bed) -> None:
        x = {"name": "x", "shape": [1, 20, 20], "datatype": "FP32"}
        said = await bed.infer("two_large", {**x, "data": [0.125] * 400})
        assert said.status == 413
        assert "over the 1000 that are taken; send large tensors in binary" in said.error
        request = {
            "inputs": [{**x, "parameters": {"binary_data_size": 1600}}],
            "parameters": {"binary_data_output": True},
        }
        assert (await bed.send("two_large", request, bytes(1600))).status == 200

    on_bed(story, HttpOptions(max_json=1000))


def test_all_bodies_together_are_bounded_and_what_was_held_is_given_back() -> None:
    async def story(bed: Bed) -> None:
        _, writer = await bed.raw()
        writer.write(b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 150000\r\n\r\n")
        writer.write(bytes(100_000))
        body = msgspec.json.encode({"inputs": [number([1.0, 2.0, 3.0, 4.0])], "pad": "x" * 60_000})
        while (said := await bed.ask("/v2/models/two_float32/infer", body)).status == 200:
            """Until so much of the first has arrived."""
        assert said.status == 503
        assert said.headers["Retry-After"] == "1"
        assert "120000 are taken" in said.error
        writer.close()
        await writer.wait_closed()
        while (await bed.ask("/v2/models/two_float32/infer", body)).status != 200:
            """Until it is noticed that the first has gone."""

    on_bed(story, HttpOptions(max_held=120_000))


def test_what_is_not_there_is_said_in_json() -> None:
    async def story(bed: Bed) -> None:
        for path in ("/", "/v3", "/v2/models/a/b/infer/c", "/v2/", "/v2/models/two_float32/"):
            said = await bed.ask(path)
            assert said.status == 404, path
            assert path in said.error
        said = await bed.ask("/v2/models/a/b/c/infer", {})
        assert said.status == 404
        said = await bed.ask("/v2", method="POST", body={})
        assert (said.status, said.error) == (405, "'/v2' does not take POST; it takes GET, HEAD")
        said = await bed.ask("/v2/models/two_float32/infer", method="GET")
        assert (said.status, said.headers["Allow"]) == (405, "POST")
        assert (await bed.ask("/v2", method="HEAD")).body == b""

    on_bed(story)


def test_extensions_that_are_not_offered_say_so() -> None:
    async def story(bed: Bed) -> None:
        for path in (
            "/v2/systemsharedmemory/status",
            "/v2/systemsharedmemory/region/r/register",
            "/v2/cudasharedmemory/status",
            "/v2/trace/setting",
            "/v2/models/two_float32/trace/setting",
            "/v2/logging",
        ):
            said = await bed.ask(path)
            assert said.status == 501
            assert "not offered" in said.error

    on_bed(story)
