"""A process that keeps a core busy with a stage while another is measured; ends when its standard input does.

``python -m cutwater.lab.companion FOLDER CORES``: FOLDER holds ``work.onnx`` and ``feeds.npz``; CORES is like ``1,3``.
With FOLDER ``-`` it prints the bytes of resident memory it has without any stage, and ends.
"""

import select
import sys
from pathlib import Path

from cutwater.frameworks.onnx import OnnxRuntime


def main(folder: str, cores: str) -> None:
    """Work until standard input ends."""
    if folder == "-":
        print(_resident_bytes())
        return
    # Imported here, so that what is said above about memory holds for a worker, which needs neither.
    import numpy as np

    from cutwater.frameworks.base import EngineOptions
    from cutwater.lab.timing import pin

    own = [int(core) for core in cores.split(",")]
    pin(own)
    with np.load(Path(folder, "feeds.npz"), allow_pickle=False) as saved:
        feeds = {name.removeprefix("feed:"): saved[name] for name in saved.files}
    session = OnnxRuntime().load(Path(folder, "work.onnx").read_bytes(), EngineOptions(threads=len(own)))
    session.run(feeds)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        session.run(feeds)


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
