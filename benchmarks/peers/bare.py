"""One process with one ONNX Runtime session and nothing else: the bound of a stage, and the peer of a pipeline.

    python bare.py MODEL.onnx FEEDS.npz THREADS SPIN CORES

SPIN is 1 or 0, CORES like "0,1". It says "ready" on stdout; for each line on stdin, a number of seconds, it computes
the same feeds over and over for that long and says how many runs that were and how long they took. It ends with stdin.
"""

import sys
import time
from os import sched_setaffinity

import numpy as np
import onnxruntime

from cutwater.drivers.memory import keep_freed_memory


def main(model: str, feeds: str, threads: str, spin: str, cores: str) -> None:
    """Compute when told to."""
    keep_freed_memory()
    sched_setaffinity(0, [int(core) for core in cores.split(",")])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(feeds, allow_pickle=False) as saved:
        arrays = {name.removeprefix("feed:"): saved[name] for name in saved.files}
    for _ in range(3):
        session.run(None, arrays)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = float(line)
        began = now = time.perf_counter()
        count = 0
        while now - began < seconds:
            session.run(None, arrays)
            count, now = count + 1, time.perf_counter()
        print(count, now - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
