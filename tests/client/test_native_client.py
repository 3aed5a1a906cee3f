"""Clients over a native link to a gateway with real workers: they answer like the uncut model."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gateway_bed import GATEWAY, MODEL, in_loop, with_gateway

import cutwater
from cutwater.cut.lattice import Lattice
from cutwater.errors import BadTensor, LinkLost, NotFound, Unsupported
from cutwater.fabric.server import ServerOptions, answering, prepare

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server."""
    options = ServerOptions(home=tmp_path_factory.mktemp("nats"))
    server = subprocess.Popen(prepare(options))
    yield asyncio.run(answering(options, server.pid))
    server.terminate()
    server.wait()


def test_both_clients_answer_like_the_uncut_model_and_link_again(
    tmp_path: Path, vit_lattice: Lattice, url: str
) -> None:
    async def story() -> None:
        async with with_gateway(tmp_path, vit_lattice, url) as bed:
            await bed.go_live(await bed.deploy(1, [0.5], ("raw", "raw", "raw"), [1, 1]))
            address = f"unix:{bed.home.sockets / GATEWAY}"

            def blocking() -> None:
                with cutwater.Client(address) as client:
                    for number, result in enumerate(client.map(MODEL, map(bed.feeds, range(8)), in_flight=4)):
                        np.testing.assert_allclose(result.array, bed.uncut(number), rtol=1e-4, atol=1e-5)
                        assert [mark.stage for mark in result.trail] == ["worker-1", "worker-2"]
                        assert result.request and result.tries == 1 and not result.degraded
                    with pytest.raises(NotFound, match="did you mean 'vit'"):
                        client.infer("vitt", bed.feeds(0))
                    with pytest.raises(BadTensor):
                        client.infer(MODEL, {"image": np.zeros(3, np.float32)})
                    with pytest.raises(NotFound, match="no output 'logit'"):
                        client.infer(MODEL, bed.feeds(0), outputs=["logit"])
                    assert client.infer(MODEL, bed.feeds(0), priority=5).request
                    with pytest.raises(Unsupported, match="by HTTP or gRPC"):
                        client.infer(MODEL, next(iter(bed.feeds(0).values())))

            await asyncio.to_thread(blocking)
            async with cutwater.AsyncClient(address) as client:
                await client.infer(MODEL, bed.feeds(0))
                assert bed.gateway is not None
                for guest in tuple(bed.gateway.reception._guests.values()):
                    guest.link.abort()
                again = await client.infer(MODEL, bed.feeds(1))
                np.testing.assert_allclose(again.array, bed.uncut(1), rtol=1e-4, atol=1e-5)

    in_loop(story)


def test_nobody_there_is_said_before_the_deadline(tmp_path: Path) -> None:
    with cutwater.Client(f"unix:{tmp_path}/nobody", retries=2, timeout=5) as client, pytest.raises(LinkLost):
        client.infer("m", {"x": np.zeros(1, np.float32)})
