"""y = 2x over raw bytes of float32 in Ray Serve: its default HTTP proxy, one replica.

python ray_twice.py PORT
"""

import os
import signal
import sys

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from ray import serve
from starlette.responses import Response


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=16)
class Twice:
    """One replica."""

    async def __call__(self, request):
        x = np.frombuffer(await request.body(), np.float32)
        return Response((x + x).tobytes(), media_type="application/octet-stream")


def main(port: str) -> None:
    """Serve until a signal comes."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=256 * 2**20, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        serve.run(Twice.bind(), route_prefix="/inference")
        print("serving", flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main(*sys.argv[1:])
