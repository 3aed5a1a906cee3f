"""Split peers: two stages over Cutwater, torch.distributed.pipelining and Ray Serve, at the same cut on the same cores.

Question: how many answers per second, and how much processor time per answer, do the same two stages come to when
something else carries the tensors? Each peer is a process tree of its own, with a worker pinned to each of two cores
and one thread per stage:

* "torch, ONNX Runtime inside": torch.distributed.pipelining over gloo, the stages ONNX Runtime sessions in modules. It
  has no client: requests lie in the first stage and answers stay in the last.
* "torch, eager": the same, the stages the same layers in PyTorch (ResNet-50 only).
* "Ray Serve": two deployments chained by handles, ONNX Runtime inside, asked from a third process like Cutwater's.

Candidates take turns in every round (see interleave.py). Where Ray is installed apart, say so with ``--ray-python``.

    python benchmarks/split_peers.py [--rounds 5] [--seconds 3] [--cut "after layer3.1"] [--ray-python PYTHON]
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
from halves import Halves, cut_in_halves, peer, pipeline_of, stream
from interleave import Rounds, conditions, interleave

from cutwater.drivers.loop import run

IN_FLIGHT = 6
LAYERS = (3, 4, 6, 3)
"""Blocks per layer of ResNet-50."""
PEER_PACKAGES = {"torch": ("torch",), "ray": ("ray", "onnxruntime", "numpy")}


def block_number(label: str) -> int | None:
    """How many parts of ResNet-50 (stem, blocks, head) lie before a cut; None where it falls inside one."""
    found = re.fullmatch(r"after layer(\d)\.(\d+)", label)
    return 1 + sum(LAYERS[: int(found[1]) - 1]) + int(found[2]) + 1 if found else None


async def measure(halves: Halves, arguments: argparse.Namespace) -> Rounds:
    """All candidates in every round."""
    seconds = arguments.seconds
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for k, stage in enumerate(halves.stages):
            (folder / f"{k}.onnx").write_bytes(stage.onnx)
        (name,) = halves.graph.inputs
        requests = {str(k): feeds[name] for k, feeds in enumerate(halves.requests)}
        np.savez(folder / "requests.npz", **requests)  # type: ignore[arg-type]
        pipeline = await enter(pipeline_of(halves))
        candidates = {"Cutwater": lambda: stream(pipeline, halves.requests, seconds, IN_FLIGHT)}
        if "torch" in arguments.peers:
            inside = await enter(peer(sys.executable, "torch_pipeline.py", folder, "onnx"))
            candidates["torch, ONNX Runtime inside"] = lambda: inside.turn(seconds)
            number = block_number(halves.cut.label) if halves.graph.name == "resnet50" else None
            if number is not None:
                (folder / "cut.txt").write_text(str(number))
                eager = await enter(peer(sys.executable, "torch_pipeline.py", folder, "eager"))
                candidates["torch, eager"] = lambda: eager.turn(seconds)
        if "ray" in arguments.peers:
            serve = await enter(peer(arguments.ray_python, "ray_chain.py", folder, IN_FLIGHT))
            candidates["Ray Serve"] = lambda: serve.turn(seconds)
        return await interleave(candidates, arguments.rounds)


async def versions(python: str, packages: tuple[str, ...]) -> str:
    """What a peer's interpreter has installed."""
    code = "import sys; from importlib.metadata import version; print(*(f'{p} {version(p)}' for p in sys.argv[1:]))"
    process = await asyncio.create_subprocess_exec(python, "-c", code, *packages, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--cut", help="cut here instead of where the stages balance; whole blocks for 'torch, eager'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each candidate in each round")
    parser.add_argument("--peers", nargs="*", choices=PEER_PACKAGES, default=list(PEER_PACKAGES))
    parser.add_argument("--ray-python", default=sys.executable, help="interpreter that has ray[serve] and Cutwater")
    parser.add_argument("--json", type=Path, help="write conditions and figures here")
    arguments = parser.parse_args()
    where = conditions(["cutwater", "onnxruntime", "numpy", "uvloop"])
    print(where)
    pythons = {"torch": sys.executable, "ray": arguments.ray_python}
    for name in arguments.peers:
        print(f"peer: {run(versions(pythons[name], PEER_PACKAGES[name]))}")
    halves = cut_in_halves(arguments.model, arguments.cut)
    print(f"{halves.graph.name}, cut {halves.cut.label} ({halves.cut.border_bytes} bytes), {IN_FLIGHT} in flight")
    found = run(measure(halves, arguments))
    for name in found.turns:
        if name != "Cutwater":
            print(f"  Cutwater / {name:27} answers per second {found.ratio('Cutwater', name)}")
            print(f"  {'':38} CPU per answer     {found.cpu_ratio('Cutwater', name)}")
    print(f"  {found}")
    if arguments.json:
        figures = {name: [turn._asdict() for turn in turns] for name, turns in found.turns.items()}
        row = {"conditions": where, "at": time.time(), "cut": halves.cut.label, "turns": figures}
        arguments.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
