"""What people's clients do: tritonclient as it is installed, blocking and in asyncio."""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as blocking
import tritonclient.grpc.aio as triton
from grpc_bed import LIMIT, Bed, fp32, serving, two_x
from tritonclient.utils import InferenceServerException, np_to_triton_dtype
from two_x import NUMBERS

from cutwater import __version__
from cutwater.api.grpc.options import GrpcOptions


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with serving(GrpcOptions(max_request=LIMIT)) as found:
        yield found


def test_the_server_says_what_it_is(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            with bed.backend.draining():
                assert not await client.is_server_ready()
            metadata = await client.get_server_metadata()
            assert (metadata.name, metadata.version) == ("cutwater", __version__)
            assert "model_repository" in metadata.extensions

    bed.run(story())


def test_a_model_says_what_it_takes_and_how_it_is_served(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            assert await client.is_model_ready("two_float16", "1")
            metadata = await client.get_model_metadata("two_float16", as_json=True)
            assert metadata["inputs"] == [{"name": "x", "datatype": "FP16", "shape": ["-1", "4"]}]
            assert metadata["outputs"] == [{"name": "y", "datatype": "FP16", "shape": ["-1", "4"]}]
            assert metadata["versions"] == ["1"]
            config = (await client.get_model_config("shout", as_json=True))["config"]
            assert config["input"] == [{"name": "text", "data_type": "TYPE_STRING", "dims": ["-1"]}]
            assert config["parameters"]["standing"] == {"string_value": "READY"}

    bed.run(story())


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_number_is_doubled(bed: Bed, dtype: str) -> None:
    async def story() -> None:
        async with bed.client() as client:
            x = np.array([[0, 1, 2, 3], [1, 0, 1, 0]]).astype(dtype)
            given = triton.InferInput("x", [2, 4], np_to_triton_dtype(x.dtype)).set_data_from_numpy(x)
            found = await client.infer(f"two_{dtype}", [given], request_id="seven", model_version="1")
            y = found.as_numpy("y")
            np.testing.assert_array_equal(y, x if dtype == "bool" else x * 2)
            assert y.dtype == x.dtype
            assert found.get_response().id == "seven"
            assert found.get_response().model_version == "1"

    bed.run(story())


def test_bfloat16_keeps_its_bits(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            x = np.array([[1.5, -2.25, 1e30, 3]], ml_dtypes.bfloat16)
            given = triton.InferInput("x", [1, 4], "BF16").set_data_from_numpy(x)
            y = (await client.infer("two_bfloat16", [given])).as_numpy("y")
            np.testing.assert_array_equal(y.astype(np.float32), x.astype(np.float32) * 2)

    bed.run(story())


def test_text_of_any_length_goes_both_ways(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            text = np.array([b"", "größe".encode(), b"a" * 5000, b"\x00x"], object)
            given = triton.InferInput("text", [4], "BYTES").set_data_from_numpy(text)
            loud = (await client.infer("shout", [given])).as_numpy("loud")
            assert loud.tolist() == [each.upper() for each in text.tolist()]

    bed.run(story())


def test_the_outputs_that_are_wanted_come_in_their_order(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            a, b = np.array([5, 6], np.int32), np.array([1, 2], np.int32)
            given = [triton.InferInput(name, [2], "INT32").set_data_from_numpy(x) for name, x in (("b", b), ("a", a))]
            wanted = [triton.InferRequestedOutput(name) for name in ("difference", "sum")]
            found = await client.infer("mixed", given, outputs=wanted)
            assert [each.name for each in found.get_response().outputs] == ["difference", "sum"]
            assert found.as_numpy("difference").tolist() == [4, 4]
            wanted = [triton.InferRequestedOutput("scores", class_count=2)]
            scores = await client.infer("trees", [fp32(0, 3, 1, 2, -1)], outputs=wanted)
            assert scores.as_numpy("scores").tolist() == [[b"3.000000:1:birch", b"2.000000:3:elm"]]

    bed.run(story())


def test_a_picture_as_its_file_holds_it_reaches_a_model_that_wants_it_so(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            picture = np.array([b"\xff\xd8" + b"j" * 300], object)
            given = triton.InferInput("encoded", [1], "BYTES").set_data_from_numpy(picture)
            assert (await client.infer("encoded", [given])).as_numpy("length").tolist() == [302]

    bed.run(story())


def test_parameters_reach_the_backend(bed: Bed) -> None:
    async def story() -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        async with bed.client() as client:
            await client.infer(
                "two_float32", [fp32(1, 2, 3, 4)], priority=1, timeout=250_000, headers={"traceparent": trace}
            )
        ask = bed.backend.asked[-1]
        assert (ask.priority, ask.timeout, ask.trace, ask.door) == (4, 0.25, trace, "grpc")
        assert ask.client == "grpc:127.0.0.1"
        assert ask.came > 16

    bed.run(story())


def test_an_answer_says_under_which_span_it_is_recorded(bed: Bed) -> None:
    async def story() -> None:

        bed.backend.span = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
        async with bed.channel() as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(
                two_x(1, 2, 3, 4).SerializeToString()
            )
            await call
            told = dict(await call.trailing_metadata())
        assert told["traceparent"] == bed.backend.span
        assert told["cutwater-request"].startswith("5c1f03aa-")
        bed.backend.span = ""

    bed.run(story())


def test_packed_requests_are_taken(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            for packing in ("gzip", "deflate"):
                found = await client.infer("two_float32", [fp32(1, 2, 3, 4)], compression_algorithm=packing)
                assert found.as_numpy("y").tolist() == [[2, 4, 6, 8]]

    bed.run(story())


def test_the_deadline_of_a_call_limits_the_request(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            await client.infer("two_float32", [fp32(1, 2, 3, 4)], client_timeout=7)
            assert 6 < (bed.backend.asked[-1].timeout or 0) < 7.1  # the wire rounds it up
            await client.infer("two_float32", [fp32(1, 2, 3, 4)], client_timeout=7, timeout=1_000_000)
            assert bed.backend.asked[-1].timeout == 1
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("slow", [fp32(1, shape=(1,))], client_timeout=0.05, request_id="late")
            assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
            await bed.backend.until_withdrawn("late")

    bed.run(story())


def test_cancelling_a_call_withdraws_its_request(bed: Bed) -> None:
    async def story() -> None:
        bed.backend.waiting.clear()
        async with bed.client() as client:
            asking = asyncio.ensure_future(client.infer("slow", [fp32(1, shape=(1,))], request_id="unwanted"))
            await bed.backend.waiting.wait()
            asking.cancel()
            await bed.backend.until_withdrawn("unwanted")

    bed.run(story())


def test_models_are_deployed_and_taken_down(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            await client.unload_model("mixed")
            assert not await client.is_model_ready("mixed")
            index = await client.get_model_repository_index(as_json=True)
            (entry,) = [each for each in index["models"] if each["name"] == "mixed"]
            assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "it is not deployed")
            await client.load_model("mixed", config='{"stages": 2}')
            assert bed.backend.loaded[-1] == ("mixed", {"stages": 2})
            assert await client.is_model_ready("mixed")

    bed.run(story())


def test_statistics_count_what_was_asked(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            for _ in range(3):
                await client.infer("two_large", [fp32(*range(8), shape=(2, 2, 2))])
            with pytest.raises(InferenceServerException):
                await client.infer("error", [fp32(1, shape=(1,))])
            (found,) = (await client.get_inference_statistics("two_large")).model_stats
            assert (found.inference_count, found.execution_count, found.last_inference) == (3, 3, 1_500_000_000_000)
            assert (found.inference_stats.success.count, found.inference_stats.success.ns) == (3, 9_000_000)
            assert [(each.batch_size, each.compute_infer.count) for each in found.batch_stats] == [(1, 3)]
            everybody = (await client.get_inference_statistics()).model_stats
            assert {each.name: each.inference_stats.fail.count for each in everybody}["error"] == 1

    bed.run(story())


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("none", "NOT_FOUND", "the cluster knows no model 'none'"),
        ("error", "INTERNAL", "stage 2 on node-1: the model divides by zero"),
        ("full", "UNAVAILABLE", "the queue is full"),
        ("crowded", "RESOURCE_EXHAUSTED", "this client has 64 requests waiting"),
        ("complex", "INVALID_ARGUMENT", "no datatype for complex64"),
    ],
)
def test_errors_have_their_codes(bed: Bed, model: str, code: str, says: str) -> None:
    async def story() -> None:
        async with bed.client() as client:
            with pytest.raises(InferenceServerException) as caught:
                await client.infer(model, [fp32(1, shape=(1,))])
            assert caught.value.status() == f"StatusCode.{code}"
            assert says in caught.value.message()

    bed.run(story())


def test_whoever_is_refused_is_told_when_to_try_again(bed: Bed) -> None:

    request = two_x(1, model="full")
    request.inputs[0].shape[:] = [1]
    told = dict(bed.refusal(request).trailing_metadata())
    assert told == {"cutwater-error": "Refused", "retry-after": "2.400", "grpc-retry-pushback-ms": "2400"}


def test_extensions_that_are_not_there_say_so(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            for call in (client.get_system_shared_memory_status(), client.get_trace_settings()):
                with pytest.raises(InferenceServerException, match="not offered") as caught:
                    await call
                assert caught.value.status() == "StatusCode.UNIMPLEMENTED"

    bed.run(story())


def test_the_blocking_client_does_the_same(bed: Bed) -> None:
    def ask() -> list[Any]:
        with blocking.InferenceServerClient(bed.url) as client:
            assert client.is_server_ready()
            assert client.is_model_ready("two_float32")
            one = client.infer("two_float32", [fp32(1, 2, 3, 4)]).as_numpy("y").tolist()
            done: queue.Queue[Any] = queue.Queue()
            for _ in range(8):
                client.async_infer("two_float32", [fp32(1, 2, 3, 4)], lambda result, error: done.put(result))
            with pytest.raises(InferenceServerException, match="has no input 'z'"):
                client.infer("two_float32", [blocking.InferInput("z", [1, 4], "FP32").set_data_from_numpy(ones)])
            client.start_stream(lambda result, error: done.put(result))
            for _ in range(20):
                client.async_stream_infer("two_float32", [fp32(1, 2, 3, 4)])
            client.stop_stream()
            return [one, *(done.get(timeout=10).as_numpy("y").tolist() for _ in range(28))]

    ones = np.ones((1, 4), np.float32)
    assert bed.run(asyncio.to_thread(ask)) == [[[2, 4, 6, 8]]] * 29


async def _requests(count: int) -> AsyncIterator[dict[str, Any]]:
    for number in range(count):
        yield {"model_name": "two_float32", "inputs": [fp32(number, 0, 0, 0)], "request_id": str(number)}


def test_a_stream_answers_in_the_order_of_the_requests(bed: Bed) -> None:
    async def story() -> None:
        async with bed.client() as client:
            found = [(result, error) async for result, error in client.stream_infer(_requests(100))]
        assert [error for _, error in found] == [None] * 100
        assert [result.get_response().id for result, _ in found] == [str(number) for number in range(100)]
        assert [result.as_numpy("y")[0, 0] for result, _ in found] == [2 * number for number in range(100)]
        assert all(result.get_response().parameters["triton_final_response"].bool_param for result, _ in found)

    bed.run(story())


def test_a_fast_request_waits_in_its_stream_for_a_slow_one_before_it(bed: Bed) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "slow", "inputs": [fp32(1, shape=(1,))], "request_id": "first"}
        yield {"model_name": "two_float32", "inputs": [fp32(1, 2, 3, 4)], "request_id": "second"}
        while bed.backend.asked[-1].id != "second":  # noqa: ASYNC110 - the backend has no event for it
            await asyncio.sleep(0)  # until the second is computed, behind the first
        bed.backend.slow.set()

    async def story() -> None:
        async with bed.client() as client:
            found = [result.get_response().id async for result, _ in client.stream_infer(requests())]
        assert found == ["first", "second"]
        bed.backend.slow.clear()

    bed.run(story())


def test_an_error_in_a_stream_belongs_to_one_request(bed: Bed) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for model in ("two_float32", "none", "two_float32"):
            yield {"model_name": model, "inputs": [fp32(1, 2, 3, 4)], "request_id": model}

    async def story() -> None:
        async with bed.client() as client:
            found = [error is None async for _, error in client.stream_infer(requests())]
            assert found == [True, False, True]
            strict = client.stream_infer(requests(), headers={"triton_grpc_error": "true"})
            assert (await anext(strict))[1] is None
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(strict)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    bed.run(story())


def test_leaving_a_stream_withdraws_what_is_open_in_it(bed: Bed) -> None:
    async def story() -> None:
        async with bed.channel() as channel:
            call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()

            request = two_x(1, model="slow")
            request.inputs[0].shape[:] = [1]
            for id in ("left-1", "left-2"):
                bed.backend.waiting.clear()
                request.id = id
                await call.write(request.SerializeToString())
                await bed.backend.waiting.wait()
            call.cancel()
            await bed.backend.until_withdrawn("left-1")
            await bed.backend.until_withdrawn("left-2")
            assert await call.code() is grpc.StatusCode.CANCELLED

    bed.run(story())
