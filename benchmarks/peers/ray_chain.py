"""Two stages as two Ray Serve deployments, chained by their handles: the second is called with the first's response.

    python ray_chain.py FOLDER IN_FLIGHT

The stages are FOLDER's 0.onnx and 1.onnx, run by ONNX Runtime with one thread, each replica pinned to a core. The
border goes from replica to replica; requests come from this process and answers end here. There is no HTTP proxy and no
dashboard. The protocol on stdin and stdout is that of bare.py.
"""

import os
import sys
import time
from collections import deque
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=8)
class Stage:
    """One stage in one replica."""

    def __init__(self, file: str, core: int) -> None:
        import onnxruntime

        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), [core])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._inputs = [spec.name for spec in self._session.get_inputs()]

    async def __call__(self, tensors: Any) -> Any:
        return self._session.run(None, dict(zip(self._inputs, tensors, strict=True)))


def main(folder: str, in_flight: str) -> None:
    """Keep so many requests under way for as long as each line says."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=256 * 2**20, log_to_driver=False)
    try:
        serve.start(http_options={"location": "NoServer"})
        stages = [
            serve.run(Stage.bind(f"{folder}/{k}.onnx", k), name=f"stage-{k + 1}", route_prefix=None) for k in (0, 1)
        ]
        with np.load(f"{folder}/requests.npz", allow_pickle=False) as saved:
            requests = cycle([[saved[name]] for name in saved.files])

        def stream(seconds: float) -> tuple[int, float]:
            began = now = time.perf_counter()
            open_: deque[Any] = deque()
            count = 0
            while open_ or now - began < seconds:
                if now - began < seconds:
                    open_.append(stages[1].remote(stages[0].remote(next(requests))))
                if len(open_) >= int(in_flight) or now - began >= seconds:
                    open_.popleft().result()
                    count += 1
                now = time.perf_counter()
            return count, now - began

        stream(2.0)
        print("ready", flush=True)
        for line in sys.stdin:
            print(*stream(float(line)), flush=True)
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
