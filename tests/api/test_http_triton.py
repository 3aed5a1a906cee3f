"""``tritonclient.http``, unmodified, blocking and asynchronous: everything it can ask of a server."""

import asyncio
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as blocking
import tritonclient.http.aio as asynchronous
from http_bed import Bed, Threaded, on_bed, threaded
from tritonclient.utils import InferenceServerException, np_to_triton_dtype
from two_x import NUMBERS


@pytest.fixture(scope="module")
def server() -> Iterator[Threaded]:
    with threaded() as begun:
        yield begun


@pytest.fixture(scope="module")
def client(server: Threaded) -> Iterator[blocking.InferenceServerClient]:
    with blocking.InferenceServerClient(server.address, concurrency=4) as made:
        yield made


def given(array: np.ndarray, *, name: str = "x", binary: bool = True, http: object = blocking) -> blocking.InferInput:
    made = http.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))  # type: ignore[attr-defined]
    return made.set_data_from_numpy(array, binary_data=binary)


def test_the_server_and_its_models_tell_of_themselves(client: blocking.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("two_float32")
    assert client.is_model_ready("two_float32", "1")
    assert not client.is_model_ready("two_float32", "2")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "cutwater"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("two_int8", "1") == {
        "name": "two_int8",
        "versions": ["1"],
        "platform": "onnx",
        "inputs": [{"name": "x", "datatype": "INT8", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "INT8", "shape": [-1, 4]}],
    }
    config = client.get_model_config("shout")
    assert (config["max_batch_size"], config["input"]) == (
        0,
        [{"name": "text", "data_type": "TYPE_STRING", "dims": [-1]}],
    )
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert index["two_bool"] == {"name": "two_bool", "version": "1", "state": "READY", "reason": ""}


def test_models_are_loaded_and_unloaded(server: Threaded, client: blocking.InferenceServerClient) -> None:
    client.unload_model("two_uint16")
    assert not client.is_model_ready("two_uint16")
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert (index["two_uint16"]["state"], index["two_uint16"]["reason"]) == ("UNAVAILABLE", "it is not deployed")
    client.load_model("two_uint16", config='{"stages": 3}')
    assert client.is_model_ready("two_uint16")
    assert server.backend.loaded == [("two_uint16", {"stages": 3})]
    for load, status, why in (
        (lambda: client.load_model("nobody"), "404", "the cluster knows no model 'nobody'"),
        (lambda: client.load_model("two_uint16", config='{"max_batch_size": 8}'), "400", "no option 'max_batch_size'"),
        (lambda: client.load_model("two_uint16", config="stages: 3"), "400", "'config' is the text of a JSON object"),
        (lambda: client.load_model("two_uint16", config="{}", files={"file:1/m.onnx": b"x"}), "501", "model add"),
    ):
        with pytest.raises(InferenceServerException) as refused:
            load()
        assert refused.value.status() == status
        assert why in refused.value.message()


def test_statistics_count_what_was_asked(client: blocking.InferenceServerClient) -> None:
    for _ in range(3):
        client.infer("two_int16", [given(np.ones((1, 4), np.int16))])
    with pytest.raises(InferenceServerException):
        client.infer("error", [given(np.ones(1, np.float32))])
    (found,) = client.get_inference_statistics("two_int16", "1")["model_stats"]
    assert found["inference_count"] == found["inference_stats"]["success"]["count"] == 3
    assert found["inference_stats"]["success"]["ns"] == 9_000_000
    assert found["batch_stats"][0]["batch_size"] == 1
    assert found["last_inference"] == 1_500_000_000_000
    every = {each["name"]: each for each in client.get_inference_statistics()["model_stats"]}
    assert every["error"]["inference_stats"]["fail"]["count"] == 1


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_datatype_in_binary_and_in_json(client: blocking.InferenceServerClient, dtype: str) -> None:
    x = np.array([[0, 1, 1, 0], [1, 0, 1, 1]]).astype(dtype)
    y = x | x if dtype == "bool" else x * 2
    for sent, wanted in ((True, True), (True, False), (False, True), (False, False)):
        outputs = [blocking.InferRequestedOutput("y", binary_data=wanted)]
        found = client.infer(f"two_{dtype}", [given(x, binary=sent)], outputs=outputs).as_numpy("y")
        assert found.dtype == y.dtype
        np.testing.assert_array_equal(found, y)


def test_bfloat16_and_text(client: blocking.InferenceServerClient) -> None:
    x = np.array([[1.5, -2, 3.140625, 100]], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(client.infer("two_bfloat16", [given(x)]).as_numpy("y"), x * 2)
    text = np.array([b"bow", b"", "größe".encode()], object)
    for binary in (True, False):
        found = client.infer("shout", [given(text, name="text", binary=binary)]).as_numpy("loud")
        assert found.tolist() == [b"BOW", b"", "GRößE".encode()]


def test_a_picture_as_bytes(client: blocking.InferenceServerClient) -> None:
    picture = np.array([b"\x00\x01" * 500], object)
    assert client.infer("encoded", [given(picture, name="encoded")]).as_numpy("length").tolist() == [1000]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_both_ways(client: blocking.InferenceServerClient, coding: str) -> None:
    x = np.zeros((2, 50, 50), np.float32)
    found = client.infer(
        "two_large", [given(x)], request_compression_algorithm=coding, response_compression_algorithm=coding
    )
    np.testing.assert_array_equal(found.as_numpy("y"), x)


def test_ids_priorities_timeouts_and_parameters_arrive(
    server: Threaded, client: blocking.InferenceServerClient
) -> None:
    x = given(np.ones((1, 4), np.float32))
    found = client.infer("two_float32", [x], request_id="7", priority=2, timeout=5000, parameters={"mine": "yes"})
    assert found.get_response()["id"] == "7"
    ask = server.backend.asked[-1]
    assert (ask.id, ask.priority, ask.timeout) == ("7", 3, 0.005)


def test_classes(client: blocking.InferenceServerClient) -> None:
    x = given(np.array([[0.1, 0.2, 0.9, 0.3, 0.4]], np.float32))
    wanted = [blocking.InferRequestedOutput("scores", class_count=2)]
    assert client.infer("trees", [x], outputs=wanted).as_numpy("scores").tolist() == [
        [b"0.900000:2:cedar", b"0.400000:4:fir"]
    ]


def test_errors_have_their_status_and_message(client: blocking.InferenceServerClient) -> None:
    for ask, status, why in (
        (lambda: client.infer("nobody", [given(np.ones(1, np.float32))]), "404", "knows no model"),
        (lambda: client.infer("two_int8", [given(np.ones((1, 4), np.int16))]), "400", "input 'x' is INT8, not INT16"),
        (lambda: client.infer("two_int8", [given(np.ones((1, 3), np.int8))]), "400", "dimension 1 is 4, not 3"),
        (lambda: client.infer("full", [given(np.ones(1, np.float32))]), "503", "the queue is full"),
        (lambda: client.infer("two_int8", [given(np.ones((1, 4), np.int8))], sequence_id=3), "501", "'sequence_id'"),
        (client.get_trace_settings, "501", "not offered"),
        (client.get_system_shared_memory_status, "501", "not offered"),
        (lambda: client.update_log_settings({"log_info": True}), "501", "not offered"),
    ):
        with pytest.raises(InferenceServerException) as refused:
            ask()
        assert refused.value.status() == status
        assert why in refused.value.message()


def test_many_are_asked_at_once(client: blocking.InferenceServerClient) -> None:
    asked = [client.async_infer("two_int64", [given(np.full((1, 4), n))]) for n in range(20)]
    assert [each.get_result().as_numpy("y")[0, 0] for each in asked] == [2 * n for n in range(20)]


def test_a_client_that_waits_no_longer_withdraws_its_request(server: Threaded) -> None:
    x = given(np.ones(1, np.float32))
    with (
        blocking.InferenceServerClient(server.address, network_timeout=0.2) as impatient,
        pytest.raises((InferenceServerException, TimeoutError)),
    ):
        impatient.infer("slow", [x], request_id="impatient")
    server.do(server.backend.until_withdrawn("impatient"))


def test_the_asynchronous_client_asks_the_same() -> None:
    async def story(bed: Bed) -> None:
        async with asynchronous.InferenceServerClient(bed.url.removeprefix("http://")) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("two_float32")
            assert (await client.get_server_metadata())["name"] == "cutwater"
            assert (await client.get_model_metadata("mixed"))["outputs"][1]["name"] == "difference"
            assert (await client.get_model_config("mixed"))["output"][0]["data_type"] == "TYPE_INT32"
            assert len(await client.get_model_repository_index()) == len(bed.backend.models())
            await client.unload_model("two_bool")
            assert not await client.is_model_ready("two_bool")
            await client.load_model("two_bool")
            for dtype in ("float16", "float32", "int64", "bool"):
                x = np.array([[0, 1, 1, 0]]).astype(dtype)
                found = await client.infer(f"two_{dtype}", [given(x, http=asynchronous)])
                np.testing.assert_array_equal(found.as_numpy("y"), x | x if dtype == "bool" else x * 2)
            text = np.array(["bow"], object)
            found = await client.infer("shout", [given(text, name="text", http=asynchronous, binary=False)])
            assert found.as_numpy("loud").tolist() == [b"BOW"]
            large = np.zeros((3, 64, 64), np.float32)
            for coding in ("gzip", "deflate", None):
                found = await client.infer(
                    "two_large",
                    [given(large, http=asynchronous)],
                    outputs=[asynchronous.InferRequestedOutput("y", binary_data=coding is not None)],
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                np.testing.assert_array_equal(found.as_numpy("y"), large)
            (stats,) = (await client.get_inference_statistics("two_large"))["model_stats"]
            assert stats["inference_count"] == 3
            with pytest.raises(InferenceServerException) as refused:
                await client.infer("full", [given(np.ones(1, np.float32), http=asynchronous)])
            assert (refused.value.status(), refused.value.message()) == ("503", "the queue is full")

    on_bed(story)


def test_the_asynchronous_client_cancels() -> None:
    async def story(bed: Bed) -> None:
        async with asynchronous.InferenceServerClient(bed.url.removeprefix("http://")) as client:
            x = given(np.ones(1, np.float32), http=asynchronous)
            asked = asyncio.ensure_future(client.infer("slow", [x], request_id="one"))
            await bed.backend.waiting.wait()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await bed.backend.until_withdrawn("one")
            await bed.well()

    on_bed(story)
