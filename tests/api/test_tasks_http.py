"""A picture in, labels and boxes out, as curl sends it; and what is said to pictures and forms that are none."""

import struct
import zlib
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest
from eyes import HUES, LIGHTS, Bed, file, form, on_eyes, picture

from cutwater.api.backend import Standing
from cutwater.api.tasks import PictureLimits
from cutwater.errors import Refused
from cutwater.vision.pictures import decode_picture, encode_picture


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, and which holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_boxes_come_in_pixels_of_the_picture() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.post("/v1/detect", form(file(1)))
        assert said.status == 200, said.body
        found = said.json
        assert (found["model"], found["request"], found["degraded"]) == ("lights", "0badcafe-1", False)
        assert found["picture"] == {"width": 200, "height": 100} and found["latency"] > 0
        (seen,) = found["detections"]
        assert (seen["label"], seen["class"]) == ("green", 1) and seen["score"] > 0.8
        # The frame is 64 pixels wide: a pixel of it is three of the picture.
        np.testing.assert_allclose(seen["box"], [40, 20, 120, 60], atol=3.2)

    on_eyes(story)


def test_a_picture_that_would_be_decoded_in_vain_is_not_decoded() -> None:
    async def story(bed: Bed) -> None:
        bed.eyes.refuses = Refused("too late")
        broken = encode_picture(decode_picture(file(1)))[:-100]  # whoever decodes it says so
        said = await bed.post("/v1/detect", form(broken, timeout="2 s", priority="3"))
        assert (said.status, said.error) == (503, "too late")
        assert bed.eyes.turned_away == [bed.eyes.refuses]
        ((ask, ahead),) = bed.eyes.coming
        assert (ask.model, ask.timeout, ask.priority, ahead, bed.eyes.asked) == ("lights", 2.0, 3, 0, [])
        bed.eyes.refuses = None
        assert (await bed.post("/v1/detect", form(broken))).status == 400
        assert (await bed.post("/v1/detect", form(file(1)))).status == 200
        assert bed.eyes.asked[0].since > 0

    on_eyes(story)


def test_the_bytes_alone_and_the_query_say_the_same_as_a_form() -> None:
    async def story(bed: Bed) -> None:
        by_form = (await bed.post("/v1/detect", form(file(), threshold="0.05", priority="2", timeout="2 s"))).json
        for kind in ("image/png", "application/octet-stream", "application/x-www-form-urlencoded"):
            path = "/v1/detect?threshold=0.05&priority=2&timeout=2"
            by_query = (await bed.post(path, file(), {"Content-Type": kind})).json
            assert by_query["detections"] == by_form["detections"]
        assert [seen["score"] for seen in by_form["detections"]] == [pytest.approx(1, abs=0.1), 0.1]
        assert {(ask.priority, ask.timeout, ask.door) for ask in bed.eyes.asked} == {(2, 2.0, "http")}

    on_eyes(story)


def test_classes_come_best_first_and_as_many_as_asked_for() -> None:
    async def story(bed: Bed) -> None:
        found = (await bed.post("/v1/classify", form(file(2), top="2"))).json
        assert [seen["label"] for seen in found["classes"]] == ["blue", "red"]
        assert 1 > found["classes"][0]["score"] > found["classes"][1]["score"]
        assert len((await bed.post("/v1/classify", form(file(2)))).json["classes"]) == 3

    on_eyes(story)


def test_the_annotated_picture_comes_as_it_is_accepted() -> None:
    async def story(bed: Bed) -> None:
        drawn = await bed.post("/v1/detect", form(file(), annotate="true"), {"Accept": "image/png"})
        assert (drawn.status, drawn.kind) == (200, "image/png")
        pixels = decode_picture(drawn.body)
        assert pixels.shape == picture().shape
        changed = (pixels != picture()).any(axis=2)
        assert changed[20:60, 36:45].any() and not changed[80:, :].any()
        for accept in ("*/*", "image/jpeg, image/png;q=0.5"):
            drawn = await bed.post("/v1/detect?annotate=true", file(), {"Accept": accept})
            assert drawn.kind == "image/jpeg" and decode_picture(drawn.body).shape == picture().shape

    on_eyes(story)


def test_which_model_is_meant_must_be_clear() -> None:
    more = msgspec.structs.replace(LIGHTS, name="lamps")

    async def two(bed: Bed) -> None:
        said = await bed.post("/v1/detect", form(file()))
        assert (said.status, said.error) == (400, "model: several can detect; name one of lamps, lights")
        assert (await bed.post("/v1/detect?model=lamps", form(file()))).json["model"] == "lamps"
        said = await bed.post("/v1/detect", form(file(), model="hues"))
        assert said.status == 400 and "'hues' is none to detect with" in said.error
        said = await bed.post("/v1/detect", form(file(), model="lamp"))
        assert said.status == 404 and "did you mean 'lamps'" in said.error

    async def none(bed: Bed) -> None:
        said = await bed.post("/v1/detect", form(file()))
        assert said.status == 404 and "lights is LOADING (it is being brought up)" in said.error
        said = await bed.post("/v1/classify", form(file()))
        assert said.status == 404 and "knows no model to classify with" in said.error

    on_eyes(two, LIGHTS, more, HUES)
    on_eyes(none, msgspec.structs.replace(LIGHTS, standing=Standing.LOADING, why="it is being brought up"))


BAD: list[tuple[str, Any, str]] = [
    ("/v1/detect", b"", "there is no picture"),
    ("/v1/detect", b"no picture at all", "not a picture of a known format"),
    ("/v1/detect", file()[:80], "truncated or corrupt"),
    ("/v1/detect", claiming(50_000, 50_000), "over the limit of 67108864"),
    ("/v1/detect", claiming(9_000, 9_000), "9000 x 9000 pixels are over the limit of 67108864"),
    ("/v1/detect?threshold=2", file(), "threshold: expected"),
    ("/v1/detect?threshold=nan", file(), "threshold"),
    ("/v1/detect?annotate=perhaps", file(), "annotate: expected"),
    ("/v1/detect?treshold=0.5", file(), "did you mean 'threshold'"),
    ("/v1/detect?top=3", file(), "nothing called 'top'"),
    ("/v1/detect?model=a&model=b", file(), "'model' is in the query twice"),
    ("/v1/detect?timeout=soon", file(), "timeout: 'soon' is not a duration"),
    ("/v1/detect?timeout=0", file(), "nothing can be answered in no time"),
    ("/v1/detect?priority=1000", file(), "priority: expected"),
    ("/v1/classify?top=0", file(), "top: expected"),
]


def test_what_makes_no_sense_is_answered_with_its_name() -> None:
    async def story(bed: Bed) -> None:
        for path, body, why in BAD:
            said = await bed.post(path, body)
            assert said.status == 400 and why in said.error, (path, said.body)
        assert bed.eyes.asked == []
        assert (await bed.post("/v1/detect", file())).status == 200

    on_eyes(story)


def test_forms_that_are_none_are_answered_with_what_is_wrong() -> None:
    async def story(bed: Bed) -> None:
        twice = form(file(), model="lights")
        twice.add_field("model", "lights")
        other = aiohttp.FormData()
        other.add_field("picture", file(), filename="a.png")
        many = form(file(), **{f"f{k}": "1" for k in range(40)})
        pair = form(file())
        pair.add_field("image", file(), filename="b.png")
        for body, why in (
            (twice, "'model' is there twice"),
            (other, "'picture' is a file; the picture's is 'image'"),
            (form(None, image="goose.jpg"), "no file 'image'"),
            (many, "Too many fields"),
            (pair, "Too many files"),
            (form(file(), model="x" * 100_000), "maximum size"),
        ):
            said = await bed.post("/v1/detect", body)
            assert said.status in (400, 413) and why in said.error, (why, said.body)
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
            said = await bed.post("/v1/detect", b"--y\r\n", {"Content-Type": kind})
            assert said.status == 400 and "form" in said.error, said.body
        assert bed.eyes.asked == []

    on_eyes(story)


def test_an_upload_over_the_limit_ends_while_it_comes() -> None:
    async def story(bed: Bed) -> None:
        said = await bed.post("/v1/detect", form(bytes(300_000)))
        assert said.status == 413 and "are taken" in said.error
        said = await bed.post("/v1/detect", form(bytes(150_000)))
        assert said.status == 413 and "image: 150000 bytes are over the limit of 100000" in said.error

    on_eyes(story, limits=PictureLimits(max_bytes=100_000))
