"""Clients of the public interface, over HTTP and gRPC alike: what they say, what they raise, what they leave."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest
from client_bed import Gateway

from cutwater import AsyncClient, Client
from cutwater.client.result import Result
from cutwater.drivers.live import clock
from cutwater.errors import (
    BadTensor,
    DeadlineExceeded,
    InputError,
    LinkLost,
    NotFound,
    Refused,
    StageFailed,
    Unauthorised,
)

ROW = np.array([[1, 2, 3, 4]], np.float32)
ONE = np.ones(1, np.float32)


def test_a_request_may_be_said_in_many_ways(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        for feeds in (
            {"x": ROW},
            ROW,
            {"x": [[1, 2, 3, 4]]},
            [[1, 2, 3, 4]],
            ROW.T.copy().T,
            {"x": ROW[:, ::-1][:, ::-1]},
        ):
            result = client.infer("two_float32", feeds)
            np.testing.assert_array_equal(result.array, ROW * 2)
        text = client.infer("shout", {"text": np.array([b"hear ye"], object)})
        assert text["loud"].tolist() == [b"HEAR YE"]
        assert client.infer("encoded", b"\xff\xd8\xff").array.tolist() == [3]
        mixed = client.infer("mixed", {"a": [5, 6], "b": [1, 2]}, outputs=["difference"])
        assert {name: array.tolist() for name, array in mixed.items()} == {"difference": [4, 4]}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float16", "float32", "float64"])
def test_all_kinds_of_numbers_travel(gateway: Gateway, dtype: str) -> None:
    with Client(gateway.url) as client:
        y = client.infer(f"two_{dtype}", ROW.astype(dtype))["y"]
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, ROW.astype(dtype) * np.array(1 if dtype == "bool" else 2, dtype))


def test_a_result_says_how_it_went(gateway: Gateway) -> None:
    gateway.backend.span, gateway.backend.degraded = f"00-{'ab' * 16}-{'cd' * 8}-01", True
    with Client(gateway.url) as client:
        result = client.infer(
            "two_float32", ROW, id="mine", priority=3, timeout=7, trace=f"00-{'1' * 32}-{'2' * 16}-01"
        )
    assert (result.id, result.request, result.degraded, result.tries) == ("mine", "5c1f03aa-1", True, 1)
    assert result.trace == gateway.backend.span and 0 < result.latency < 7
    (ask,) = gateway.backend.asked
    assert (ask.id, ask.priority, ask.trace) == ("mine", 3, f"00-{'1' * 32}-{'2' * 16}-01")
    assert ask.timeout is not None and 6.9 < ask.timeout <= 7


def test_what_is_known_of_models(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        assert client.ready()
        with gateway.backend.draining():
            assert not client.ready()
        info = client.model("mixed")
        assert [(each.name, each.datatype, each.shape) for each in info.inputs] == [
            ("a", "INT32", (2,)),
            ("b", "INT32", (2,)),
        ]
        listed = {each.name: each for each in client.models()}
        assert listed["mixed"].ready and listed.keys() == {each.name for each in gateway.backend.models()}


def test_errors_are_those_of_the_gateway(gateway: Gateway) -> None:
    with Client(gateway.url, retries=0) as client:
        with pytest.raises(NotFound, match="did you mean 'two_float32'"):
            client.infer("two_float23", ROW)
        with pytest.raises(BadTensor, match="has no input 'z'"):
            client.infer("two_float32", {"z": ROW})
        with pytest.raises(BadTensor, match="2 inputs; give a mapping with 'a', 'b'"):
            client.infer("mixed", [1, 2])
        with pytest.raises(StageFailed, match="divides by zero"):
            client.infer("error", ONE)
        with pytest.raises(Refused, match="64 requests waiting"):
            client.infer("crowded", ONE)
        with pytest.raises(NotFound, match="no output 'z'; known are y"):
            client.infer("two_float32", ROW)["z"]


def test_a_token_is_shown() -> None:
    gateway = Gateway(token="open sesame")
    with Client(gateway.url, token="open sesame") as client:
        assert client.infer("two_float32", ROW).array.shape == (1, 4)
    with Client(gateway.url) as client, pytest.raises(Unauthorised, match="wants its token"):
        client.infer("two_float32", ROW)
    gateway.close()


def test_what_is_no_address_is_said_with_the_forms_there_are() -> None:
    with pytest.raises(InputError, match="is no address"), Client("localhost:8000") as client:
        client.infer("two_float32", ROW)


def test_futures_from_many_threads_each_get_their_own_answer(any_gateway: Gateway) -> None:
    with Client(any_gateway.url, connections=16) as client:
        futures: dict[int, Future[Result]] = {}

        def submit(first: int) -> None:
            for k in range(first, 200, 8):
                futures[k] = client.submit("two_float32", {"x": np.full((1, 4), k, np.float32)})

        threads = [threading.Thread(target=submit, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {k: float(future.result().array[0, 0]) for k, future in futures.items()} == {
            k: 2.0 * k for k in range(200)
        }
        assert len(any_gateway.backend.asked) == 200
        assert any_gateway.door != "http" or any_gateway.connections <= 16


def test_a_map_keeps_the_order_and_runs_ahead_only_so_far(any_gateway: Gateway) -> None:
    fed = 0

    def feeds() -> Iterator[np.ndarray]:
        nonlocal fed
        for k in range(100):
            fed += 1
            yield {"x": np.full((1, 4), k, np.float32)}

    with Client(any_gateway.url) as client:
        for taken, result in enumerate(client.map("two_float32", feeds(), in_flight=5)):
            assert result.array[0, 0] == 2 * taken
            assert fed - taken <= 5
    assert fed == 100


def test_a_map_raises_the_first_error_or_gives_each_in_its_place(gateway: Gateway) -> None:
    wrong = np.zeros((1, 3), np.float32)
    with Client(gateway.url) as client:
        found = list(client.map("two_float32", [{"x": ROW}, {"x": wrong}, {"x": ROW}], return_errors=True))
        assert [type(each) for each in found] == [Result, BadTensor, Result]
        with pytest.raises(BadTensor):
            list(client.map("two_float32", [{"x": ROW}, {"x": wrong}, {"x": ROW}]))


def test_cancelling_a_future_withdraws_the_request(any_gateway: Gateway) -> None:
    with Client(any_gateway.url) as client:
        future = client.submit("slow", {"x": ONE}, id="unwanted")
        any_gateway.run(any_gateway.backend.waiting.wait())
        assert future.cancel()
        any_gateway.run(any_gateway.withdrawn("unwanted"))
        with pytest.raises(CancelledError):
            future.result()
        assert client.infer("two_float32", {"x": ROW}).tries == 1


@pytest.mark.slow
def test_a_request_that_is_late_is_given_up_on_both_ends(any_gateway: Gateway) -> None:
    with Client(any_gateway.url) as client:
        began = clock()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s|before the call's deadline"):
            client.infer("slow", {"x": ONE}, timeout=0.05, id="late")
        assert clock() - began < 2
        any_gateway.run(any_gateway.withdrawn("late"))


def test_whoever_is_refused_waits_as_long_as_asked_or_not_at_all(gateway: Gateway) -> None:
    with Client(gateway.url) as client:
        began = clock()
        with pytest.raises(Refused, match="queue is full") as caught:
            client.infer("full", {"x": ONE}, timeout=2)  # and after 2.4 s it may ask again
        assert 2 < caught.value.retry_after <= 3 and clock() - began < 1
        assert len(gateway.backend.asked) == 1


def test_a_gateway_that_ends_in_the_middle_is_asked_again_by_the_same_name(any_gateway: Gateway) -> None:
    with Client(any_gateway.url, retries=20) as client, Client(any_gateway.url, retries=0) as impatient:
        patient = client.submit("slow", {"x": ONE}, id="again")
        any_gateway.run(any_gateway.backend.waiting.wait())
        any_gateway.backend.waiting.clear()
        lost = impatient.submit("slow", {"x": ONE}, id="once")
        any_gateway.run(any_gateway.backend.waiting.wait())
        any_gateway.end()
        with pytest.raises((LinkLost, Refused)):  # the second, where the gateway could still say that it ends
            lost.result(5)
        any_gateway.release()
        any_gateway.begin()
        result = patient.result(5)
        assert result.array.tolist() == [2.0] and result.tries > 1
        assert {ask.id for ask in any_gateway.backend.asked} == any_gateway.named("again", "once")


def test_a_line_the_gateway_closed_meanwhile_costs_no_try(any_gateway: Gateway) -> None:
    with Client(any_gateway.url) as client:
        client.infer("two_float32", {"x": ROW})
        any_gateway.end(1)
        any_gateway.begin()
        assert client.infer("two_float32", {"x": ROW}).tries == 1


def test_closing_cancels_what_is_under_way_and_takes_nothing_more(any_gateway: Gateway) -> None:
    client = Client(any_gateway.url)
    future = client.submit("slow", {"x": ONE})
    any_gateway.run(any_gateway.backend.waiting.wait())
    client.close()
    client.close()
    assert future.cancelled() or isinstance(future.exception(), LinkLost)
    with pytest.raises(InputError, match="closed"):
        client.infer("two_float32", {"x": ROW})


def test_an_asynchronous_client_that_is_closed_fails_what_is_under_way(any_gateway: Gateway) -> None:
    async def story() -> None:
        client = AsyncClient(any_gateway.url)
        waiting = asyncio.create_task(client.infer("slow", {"x": ONE}))
        await asyncio.wrap_future(any_gateway.start(any_gateway.backend.waiting.wait()))
        await client.close()
        with pytest.raises(InputError, match="this client is closed"):
            await waiting

    asyncio.run(story())


def test_a_client_that_is_forgotten_ends_its_thread(any_gateway: Gateway) -> None:
    client = Client(any_gateway.url)
    client.infer("two_float32", {"x": ROW})
    del client
    gc.collect()
    assert not any(each.name == "cutwater-client" for each in threading.enumerate())


def test_the_asynchronous_client_does_the_same_in_its_callers_loop(any_gateway: Gateway) -> None:
    async def story() -> None:
        async with AsyncClient(any_gateway.url) as client:
            rows = [{"x": np.full((1, 4), k, np.float32)} for k in range(50)]
            many = await asyncio.gather(*(client.infer("two_float32", row) for row in rows))
            assert [float(each.array[0, 0]) for each in many] == [2.0 * k for k in range(50)]
            in_order = [float(each.array[0, 0]) async for each in client.map("two_float32", rows, in_flight=7)]
            assert in_order == [2.0 * k for k in range(50)]
            task = asyncio.create_task(client.infer("slow", {"x": ONE}, id="gone"))
            await asyncio.wrap_future(any_gateway.start(any_gateway.backend.waiting.wait()))
            task.cancel()
            await asyncio.wrap_future(any_gateway.start(any_gateway.withdrawn("gone")))
            async for _ in client.map("two_float32", rows, in_flight=7):
                break
        # The generator that was not iterated to its end closes in its own time.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others or not (await asyncio.wait(others, timeout=5))[1]

    asyncio.run(story())
