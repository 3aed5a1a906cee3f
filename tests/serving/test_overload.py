"""Far more than can be answered in time: everybody hears something, nothing stays, and the next one is served."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest
from served import MODEL, Served

import cutwater
from cutwater.drivers.loop import run
from cutwater.errors import CutwaterError, DeadlineExceeded, Refused
from cutwater.lab.load.payloads import PayloadOptions
from cutwater.lab.load.target import Endpoint, Target

CLIENTS, EACH = 64, 50
"""All at once, and so many requests of each, one after the other."""
LIMIT = 0.03
"""Seconds that a request is given; so many at once take many times that."""
MEBIBYTE = 2**20
COFFEE = Path(__file__).parents[2] / "docs" / "pictures" / "coffee.jpg"


async def crowd(url: str, inputs: Mapping[str, Path]) -> Counter[str]:
    """How the requests of all clients ended."""
    ends: Counter[str] = Counter()
    async with Target(Endpoint(url)) as target:
        requests = (await target.prepared([MODEL], PayloadOptions(inputs), LIMIT))[MODEL]

        async def client(number: int) -> None:
            for k in range(EACH):
                try:
                    await requests[(number + k) % len(requests)]()
                except TimeoutError:  # this end's own, by gRPC
                    ends["DeadlineExceeded"] += 1
                except (Refused, DeadlineExceeded) as error:
                    assert isinstance(error, DeadlineExceeded) or error.retry_after > 0
                    ends[error.kind] += 1
                except CutwaterError as error:
                    ends[f"{error.kind}: {error}"] += 1
                else:
                    ends["answered"] += 1

        await asyncio.gather(*map(client, range(CLIENTS)))
    return ends


@pytest.mark.parametrize("door", ["http", "grpc", "picture"])
def test_a_crowd_is_answered_or_refused_and_leaves_nothing_behind(served: Served, door: str) -> None:
    url = f"grpc://{served.grpc}" if door == "grpc" else served.http
    inputs = {"": COFFEE} if door == "picture" else {}
    gateway = psutil.Process(served.type("up")["processes"]["gateway"]["pid"])
    run(crowd(url, inputs))  # what it needs once, such as decoders and buffers, it keeps
    before = gateway.memory_info().rss
    ends = run(crowd(url, inputs))
    assert ends.keys() <= {"answered", "Refused", "DeadlineExceeded"} and ends.total() == CLIENTS * EACH
    assert ends["Refused"] > 0
    # What it was brought is 150 MiB as arrays, and as much again as pictures.
    assert gateway.memory_info().rss - before < 64 * MEBIBYTE
    pictures = np.random.default_rng(5).random((1, 3, 64, 64), np.float32)
    with cutwater.Client(url) as client:
        served.check(pictures, client.infer(MODEL, {"pictures": pictures}).array)
