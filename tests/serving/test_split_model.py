"""tritonclient in all its forms asks a model that runs in two stages on two nodes: its answers are the whole one's."""

import asyncio
import io
import json
import urllib.request
from collections import Counter
from collections.abc import Callable
from queue import Queue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as by_grpc
import tritonclient.grpc.aio as by_grpc_aio
import tritonclient.http as by_http
import tritonclient.http.aio as by_http_aio
from PIL import Image
from served import MODEL, NAMES, Served
from tritonclient.utils import InferenceServerException

from cutwater.frameworks.base import Array

pytestmark = pytest.mark.slow

CALLS = 200


def pictures(number: int) -> Array:
    return np.random.default_rng(number).standard_normal((1, 3, 64, 64)).astype(np.float32)


def asked(module: Any, array: Array, **options: Any) -> list[Any]:
    """The inputs of one request in one of the four modules."""
    wanted = module.InferInput("pictures", list(array.shape), "FP32")
    wanted.set_data_from_numpy(array, **options)
    return [wanted]


def encoded(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


class Forms:
    """One way of asking each."""

    def __init__(self, served: Served) -> None:
        self.http = by_http.InferenceServerClient(served.http.removeprefix("http://"))
        self.grpc = by_grpc.InferenceServerClient(served.grpc)

    def json(self, array: Array) -> Array:
        (wanted,) = asked(by_http, array, binary_data=False)
        output = by_http.InferRequestedOutput("logits", binary_data=False)
        return self.http.infer(MODEL, [wanted], outputs=[output]).as_numpy("logits")

    def binary(self, array: Array) -> Array:
        return self.http.infer(MODEL, asked(by_http, array), request_id="mine").as_numpy("logits")

    def packed(self, array: Array) -> Array:
        found = self.http.infer(
            MODEL, asked(by_http, array), request_compression_algorithm="gzip", response_compression_algorithm="deflate"
        )
        return found.as_numpy("logits")

    def raw(self, array: Array) -> Array:
        return self.grpc.infer(MODEL, asked(by_grpc, array), model_version="1").as_numpy("logits")

    def streamed(self, array: Array) -> Array:
        answers: Queue[Any] = Queue()
        self.grpc.start_stream(lambda result, error: answers.put((result, error)))
        self.grpc.async_stream_infer(MODEL, asked(by_grpc, array))
        result, error = answers.get(timeout=30)
        self.grpc.stop_stream()
        assert error is None
        return result.as_numpy("logits")


def test_two_hundred_mixed_calls_are_answered_as_by_the_uncut_model(served: Served) -> None:
    forms = Forms(served)
    ways: list[Callable[[Array], Array]] = [forms.json, forms.binary, forms.packed, forms.raw, forms.streamed]
    for number in range(CALLS // 2):
        array = pictures(number)
        served.check(array, ways[number % len(ways)](array))

    async def at_once() -> None:
        async with (
            by_http_aio.InferenceServerClient(served.http.removeprefix("http://")) as http,
            by_grpc_aio.InferenceServerClient(served.grpc) as grpc,
        ):

            async def one(number: int) -> None:
                array = pictures(number)
                if number % 2:
                    found = await http.infer(MODEL, asked(by_http_aio, array), timeout=20_000_000)
                else:
                    found = await grpc.infer(MODEL, asked(by_grpc_aio, array), client_timeout=20.0)
                served.check(array, found.as_numpy("logits"))

            await asyncio.gather(*(one(number) for number in range(CALLS // 2, CALLS)))

    asyncio.run(at_once())


def test_an_encoded_picture_is_decoded_on_the_way(served: Served) -> None:
    forms = Forms(served)
    picture = np.array([encoded(1)], dtype=np.object_)
    by_door = []
    for module, client in ((by_http, forms.http), (by_grpc, forms.grpc)):
        wanted = module.InferInput("pictures", [1], "BYTES")
        wanted.set_data_from_numpy(picture)
        by_door.append(client.infer(MODEL, [wanted]).as_numpy("logits"))
    np.testing.assert_array_equal(*by_door)
    assert by_door[0].shape == served.uncut(pictures(0)).shape


def test_both_doors_tell_the_same_of_a_model(served: Served) -> None:
    forms = Forms(served)
    http, grpc = forms.http.get_model_metadata(MODEL), forms.grpc.get_model_metadata(MODEL, as_json=True)
    assert http["inputs"] == [{"name": "pictures", "datatype": "FP32", "shape": [-1, 3, 64, 64]}]
    assert [each["name"] for each in http["outputs"]] == [each["name"] for each in grpc["outputs"]] == ["logits"]
    before = forms.http.get_inference_statistics(MODEL)["model_stats"][0]["inference_count"]
    forms.raw(pictures(1))
    (after,) = forms.grpc.get_inference_statistics(MODEL, as_json=True)["model_stats"]
    assert int(after["inference_count"]) == before + 1


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_what_is_wrong_is_named(served: Served, door: str) -> None:
    forms, module = Forms(served), {"http": by_http, "grpc": by_grpc}[door]
    client = getattr(forms, door)
    for array, said in (
        (np.zeros((1, 3, 64), np.float32), "pictures"),
        (np.zeros((1, 3, 65, 64), np.float32), "pictures"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            client.infer(MODEL, asked(module, array))
    with pytest.raises(InferenceServerException, match=r"vitt.*did you mean 'vit'"):
        client.infer("vitt", asked(module, pictures(0)))
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, asked(module, pictures(0)), model_version="7")
    served.check(pictures(0), client.infer(MODEL, asked(module, pictures(0))).as_numpy("logits"))


def test_a_deadline_that_cannot_be_kept_is_an_error(served: Served) -> None:
    forms = Forms(served)
    with pytest.raises(InferenceServerException, match=r"504|503"):
        forms.http.infer(MODEL, asked(by_http, pictures(0)), timeout=1)
    with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED|UNAVAILABLE"):
        forms.grpc.infer(MODEL, asked(by_grpc, pictures(0)), timeout=1)


def test_what_is_cancelled_is_withdrawn_and_others_are_answered(served: Served) -> None:
    async def story() -> None:
        async with by_grpc_aio.InferenceServerClient(served.grpc) as grpc:
            calls = [asyncio.create_task(grpc.infer(MODEL, asked(by_grpc_aio, pictures(k)))) for k in range(40)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in calls[1::2]:
                call.cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert not [error for error in done if isinstance(error, InferenceServerException)]
            for k in range(0, 40, 2):
                served.check(pictures(k), done[k].as_numpy("logits"))

    asyncio.run(story())


def test_pictures_are_classified(served: Served) -> None:
    request = urllib.request.Request(f"{served.http}/v1/classify?top=2", encoded(3), {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = json.load(answer)
    assert said["model"] == MODEL and len(said["classes"]) == 2
    assert all(NAMES[each["class"]] == each["label"] for each in said["classes"])


def test_what_is_unloaded_is_not_ready_and_comes_back(served: Served) -> None:
    forms = Forms(served)
    forms.http.unload_model(MODEL)
    assert not forms.grpc.is_model_ready(MODEL)
    assert Counter(each["state"] for each in forms.http.get_model_repository_index()) == {"UNAVAILABLE": 1}
    with pytest.raises(InferenceServerException, match="not deployed"):
        forms.raw(pictures(0))
    forms.grpc.load_model(MODEL)
    assert forms.http.is_model_ready(MODEL)
    served.check(pictures(0), forms.raw(pictures(0)))
