"""Inferences over HTTP: tensors in JSON and in binary, both ways, and everything a request may say besides."""

import gzip
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from http_bed import Bed, number, on_bed
from PIL import Image
from two_x import NUMBERS

from cutwater.api.datatypes import datatype_of


def binary(array: np.ndarray, datatype: str, name: str = "x") -> dict:
    size = array.nbytes
    return {"name": name, "shape": array.shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


def texts(*found: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in found)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_datatype_comes_back_doubled_in_json_and_in_binary(dtype: str) -> None:
    async def story(bed: Bed) -> None:
        name = datatype_of(dtype).name
        x = np.array([[0, 1, 1, 0], [1, 0, 1, 1]]).astype(dtype)
        y = x | x if dtype == "bool" else x * 2
        said = await bed.infer(f"two_{dtype}", number(x.ravel().tolist(), name, shape=[2, 4]))
        assert said.headers["Content-Type"] == "application/json"
        assert said.json == {
            "model_name": f"two_{dtype}",
            "model_version": "1",
            "outputs": [{"name": "y", "datatype": name, "shape": [2, 4], "data": y.ravel().tolist()}],
        }
        nested = await bed.infer(f"two_{dtype}", {**number([], name, shape=[2, 4]), "data": x.tolist()})
        assert nested.json == said.json
        request = {"inputs": [binary(x, name)], "parameters": {"binary_data_output": True}}
        head, rest = (await bed.send(f"two_{dtype}", request, x.tobytes())).binary()
        assert head["outputs"] == [
            {"name": "y", "datatype": name, "shape": [2, 4], "parameters": {"binary_data_size": y.nbytes}}
        ]
        assert rest == y.astype(dtype).tobytes()

    on_bed(story)


def test_a_large_tensor_comes_back_whole() -> None:
    async def story(bed: Bed) -> None:
        x = np.random.default_rng(7).standard_normal((3, 700, 500)).astype(np.float32)
        request = {"inputs": [binary(x, "FP32")], "parameters": {"binary_data_output": True}}
        _, rest = (await bed.send("two_large", request, x.tobytes())).binary()
        np.testing.assert_array_equal(np.frombuffer(rest, np.float32).reshape(x.shape), x * 2)

    on_bed(story)


def test_bfloat16_is_rounded_to_nearest_in_json_and_untouched_in_binary() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.infer("two_bfloat16", number([1.0, -2.5, 3.140625, 1.00390625], "BF16"))
        assert said.json["outputs"][0]["data"] == [2.0, -5.0, 6.28125, 2.0]
        bits = np.array([[0x3F80, 0x4000, 0xC020, 0x4049]], np.uint16)
        request = {"inputs": [binary(bits, "BF16")], "parameters": {"binary_data_output": True}}
        _, rest = (await bed.send("two_bfloat16", request, bits.tobytes())).binary()
        assert rest == (bits + 0x80).astype(np.uint16).tobytes()

    on_bed(story)


def test_text_travels_as_strings_and_behind_its_lengths() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.infer("shout", number(["bow", "", "größe"], "BYTES", "text", [3]))
        assert said.json["outputs"][0]["data"] == ["BOW", "", "GRößE"]
        data = texts(b"a\x00b", b"")
        text = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        loud = {"name": "loud", "parameters": {"binary_data": True}}
        _, rest = (await bed.send("shout", {"inputs": [text], "outputs": [loud]}, data)).binary()
        assert rest == texts(b"A\x00B", b"")

    on_bed(story)


def test_bytes_that_are_no_text_cannot_go_out_in_json() -> None:
    async def story(bed: Bed) -> None:
        data = texts(b"\xff\xfe")
        text = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
        said = await bed.send("shout", {"inputs": [text]}, data)
        assert said.status == 400
        assert said.error == "output 'loud' is not UTF-8 text (invalid start byte); ask for it as binary_data"

    on_bed(story)


def test_outputs_come_as_they_are_asked_for_some_in_json_some_in_binary() -> None:
    async def story(bed: Bed) -> None:
        a, b = number([5, 7], "INT32", "a", [2]), number([1, 2], "INT32", "b", [2])
        first = {"name": "difference", "parameters": {"binary_data": True}}
        said = await bed.infer("mixed", b, a, outputs=[first, {"name": "sum"}])
        head, rest = said.binary()
        assert [output["name"] for output in head["outputs"]] == ["difference", "sum"]
        assert head["outputs"][1]["data"] == [6, 9]
        assert rest == np.array([4, 5], np.int32).tobytes()
        alone = await bed.infer("mixed", a, b, outputs=[{"name": "difference"}])
        assert [output["name"] for output in alone.json["outputs"]] == ["difference"]

    on_bed(story)


def test_classification_gives_the_largest_with_their_labels() -> None:
    async def story(bed: Bed) -> None:
        scores = number([0.1, 0.5, 0.2, 0.5, 0.0, 9.0, 8.0, 7.0, 6.0, 5.0], "FP32", "x", [2, 5])
        said = await bed.infer("trees", scores, outputs=[{"name": "scores", "parameters": {"classification": 2}}])
        assert said.json["outputs"] == [
            {
                "name": "scores",
                "datatype": "BYTES",
                "shape": [2, 2],
                "data": ["0.500000:1:birch", "0.500000:3:elm", "9.000000:0:ash", "8.000000:1:birch"],
            }
        ]

    on_bed(story)


def test_ids_parameters_and_traces_reach_the_backend_and_come_back() -> None:
    async def story(bed: Bed) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        bed.backend.span, bed.backend.degraded = trace.replace("b7", "c8"), True
        x = number([1.0, 2.0, 3.0, 4.0])
        said = await bed.infer(
            "two_float32", x, id="bow-7", parameters={"timeout": 250000, "priority": 1}, headers={"traceparent": trace}
        )
        ask = bed.backend.asked[-1]
        assert (ask.id, ask.timeout, ask.priority, ask.trace) == ("bow-7", 0.25, 4, trace)
        assert (ask.door, ask.client) == ("http", "http:127.0.0.1")
        assert ask.came > 90
        assert said.json["id"] == "bow-7"
        assert said.headers["traceparent"] == bed.backend.span
        assert said.headers["Cutwater-Request"] == "5c1f03aa-1"
        assert said.headers["Cutwater-Degraded"] == "true"
        named = await bed.infer("two_float32", x, headers={"X-Request-Id": "proxy-3", "traceparent": "nonsense"})
        assert (named.json["id"], named.headers["X-Request-Id"]) == ("proxy-3", "proxy-3")
        assert bed.backend.asked[-1].trace == ""

    on_bed(story)


@pytest.mark.parametrize(
    ("level", "priority"), [(0, 0), (1, 4), (4, 1), (5, 0), (6, -1), (9, -4), (10, -4), (2**40, -4)]
)
def test_the_protocols_first_priority_is_the_highest_and_its_fifth_the_ordinary_one(level: int, priority: int) -> None:
    async def story(bed: Bed) -> None:
        await bed.infer("two_float32", number([1.0, 2.0, 3.0, 4.0]), parameters={"priority": level})
        assert bed.backend.asked[-1].priority == priority

    on_bed(story)


def test_a_model_has_version_1_only() -> None:
    async def story(bed: Bed) -> None:
        body = {"inputs": [number([1.0, 2.0, 3.0, 4.0])]}
        assert (await bed.ask("/v2/models/two_float32/versions/1/infer", body)).status == 200
        said = await bed.ask("/v2/models/two_float32/versions/2/infer", body)
        assert (said.status, said.error) == (404, "model 'two_float32' has version 1 only, not '2'")

    on_bed(story)


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_are_packed_both_ways(coding: str, packed: object) -> None:
    assert callable(packed)

    async def story(bed: Bed) -> None:
        x = np.zeros((1, 40, 40), np.float32)
        said = await bed.send(
            "two_large",
            {"inputs": [binary(x, "FP32")], "parameters": {"binary_data_output": True}},
            x.tobytes(),
            **{"Accept-Encoding": coding},
        )
        assert said.headers["Content-Encoding"] == coding
        assert len(said.body) < 1000
        body = packed(b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}')
        said = await bed.ask("/v2/models/two_float32/infer", body, headers={"Content-Encoding": coding})
        assert said.json["outputs"][0]["data"] == [2, 4, 6, 8]

    on_bed(story)


def test_tensors_are_not_packed_for_clients_that_only_name_all_codings_they_know() -> None:
    async def story(bed: Bed) -> None:
        x = np.zeros((1, 40, 40), np.float32)
        request = {"inputs": [binary(x, "FP32")], "parameters": {"binary_data_output": True}}
        said = await bed.send("two_large", request, x.tobytes(), **{"Accept-Encoding": "gzip, deflate, br"})
        assert "Content-Encoding" not in said.headers
        in_json = await bed.send(
            "two_large", {"inputs": [binary(x, "FP32")]}, x.tobytes(), **{"Accept-Encoding": "gzip, deflate, br"}
        )
        assert in_json.headers["Content-Encoding"] == "gzip"

    on_bed(story)


def test_a_picture_reaches_a_model_that_takes_it_as_its_file_holds_it() -> None:
    async def story(bed: Bed) -> None:
        picture = b"\xff\xd8 not really"
        for shape in ([1], [1, 1]):
            data = texts(picture)
            wrapped = {"name": "encoded", "shape": shape, "datatype": "BYTES"}
            wrapped["parameters"] = {"binary_data_size": len(data)}
            said = await bed.send("encoded", {"inputs": [wrapped]}, data)
            assert said.json["outputs"][0]["data"] == [len(picture)]
        bare = await bed.ask("/v2/models/encoded/infer", picture, headers={"Inference-Header-Content-Length": "0"})
        head, rest = bare.binary()
        assert (head["outputs"][0]["name"], rest) == ("length", np.array([len(picture)]).tobytes())

    on_bed(story)


def test_a_picture_is_decoded_for_a_model_that_takes_pixels() -> None:
    def png(colour: tuple[int, int, int]) -> bytes:
        made = BytesIO()
        Image.new("RGB", (20, 30), colour).save(made, "PNG")
        return made.getvalue()

    async def story(bed: Bed) -> None:
        for colour, light in (((255, 255, 255), 1.0), ((255, 0, 51), 0.4)):
            data = texts(png(colour))
            wrapped = {"name": "pixels", "shape": [1], "datatype": "BYTES"}
            wrapped["parameters"] = {"binary_data_size": len(data)}
            said = await bed.send("pixels", {"inputs": [wrapped]}, data)
            assert said.json["outputs"][0]["data"] == [pytest.approx(light)]
            bare = {"Inference-Header-Content-Length": "0"}
            said = await bed.ask("/v2/models/pixels/infer", png(colour), headers=bare)
            assert np.frombuffer(said.binary()[1], np.float32) == pytest.approx([light])
        said = await bed.ask("/v2/models/pixels/infer", b"no picture", headers=bare)
        assert (said.status, said.headers["Cutwater-Error"]) == (400, "BadPicture")

    on_bed(story)


def test_what_goes_wrong_behind_the_door_has_its_status_and_says_when_to_come_again() -> None:
    async def story(bed: Bed) -> None:
        x = number([1.0], shape=[1])
        failed = await bed.infer("error", x)
        assert (failed.status, failed.error) == (500, "stage 2 on node-1: the model divides by zero")
        assert failed.headers["Cutwater-Error"] == "StageFailed"
        full = await bed.infer("full", x)
        assert (full.status, full.headers["Retry-After"], full.error) == (503, "3", "the queue is full")
        crowded = await bed.infer("crowded", x)
        assert (crowded.status, crowded.headers["Retry-After"]) == (429, "1")
        unknown = await bed.infer("two_flaot32", x)
        assert unknown.status == 404
        assert "did you mean 'two_float32'?" in unknown.error

    on_bed(story)
