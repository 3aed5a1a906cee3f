"""Two stages over torch.distributed.pipelining: two processes over gloo, GPipe schedule, micro-batches of one.

    python torch_pipeline.py FOLDER KIND

KIND "onnx": the stages are ONNX Runtime sessions inside modules, from FOLDER's 0.onnx and 1.onnx, so that only the
data plane differs. KIND "eager": the same layers of ResNet-50 in PyTorch, cut before the block that FOLDER's cut.txt
numbers. The protocol on stdin and stdout is that of bare.py. The first stage has the requests already and the last one
keeps the answers: unlike Cutwater's, this pipeline carries neither to nor from a client.
"""

import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

MICROBATCHES = 32
"""Per step of the schedule; the pipeline fills and empties once in so many."""
CORES = (0, 1)


class OnnxStage(nn.Module):
    """A session that looks like a module."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._inputs = [spec.name for spec in self._session.get_inputs()]

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        feeds = dict(zip(self._inputs, (tensor.numpy() for tensor in tensors), strict=True))
        outputs = tuple(torch.from_numpy(output) for output in self._session.run(None, feeds))
        return outputs if len(outputs) > 1 else outputs[0]


class Bottleneck(nn.Module):
    """One block of ResNet-50 (v1.5), its batch norms folded into the convolutions."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        out = 4 * inner
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(inner, inner, 3, stride, 1), nn.ReLU(inplace=True)),
            nn.Conv2d(inner, out, 1),
        )
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.body(x) + self.skip(x))


def resnet50() -> list[nn.Module]:
    """Stem, sixteen blocks, head."""
    parts: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
    ]
    channels = 64
    for blocks, inner, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for block in range(blocks):
            parts.append(Bottleneck(channels, inner, stride if block == 0 else 1))
            channels = 4 * inner
    parts.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)))
    return parts


def rank_main(rank: int, folder: Path, kind: str) -> None:
    """One of the two processes: as many steps as each line on stdin says, and how long they took on stdout."""
    os.sched_setaffinity(0, [CORES[rank]])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{kind}", rank=rank, world_size=2)
    if kind == "onnx":
        module: nn.Module = OnnxStage(folder / f"{rank}.onnx")
    else:
        cut = int((folder / "cut.txt").read_text())
        module = nn.Sequential(*islice(resnet50(), 0 if rank == 0 else cut, cut if rank == 0 else None))
    stage = PipelineStage(module.eval(), rank, 2, torch.device("cpu"))
    schedule = ScheduleGPipe(stage, MICROBATCHES)
    with np.load(folder / "requests.npz", allow_pickle=False) as saved:
        requests = [torch.from_numpy(saved[name]).repeat_interleave(1, 0) for name in saved.files]
    whole = [torch.cat((requests * MICROBATCHES)[:MICROBATCHES])] if rank == 0 else []
    with torch.no_grad():
        for line in sys.stdin:
            began = time.perf_counter()
            for _ in range(int(line)):
                schedule.step(*whole)
            print(json.dumps(time.perf_counter() - began), flush=True)
    dist.destroy_process_group()


def main(folder: str, kind: str) -> None:
    """Start both ranks and tell them how many steps to make."""
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, folder, kind, str(rank)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(2)
    ]

    def run(steps: int) -> float:
        for rank in ranks:
            assert rank.stdin is not None
            print(steps, file=rank.stdin, flush=True)
        return max(json.loads(rank.stdout.readline()) for rank in ranks if rank.stdout is not None)

    try:
        run(1)
        per_step = run(1)
        print("ready", flush=True)
        for line in sys.stdin:
            steps = max(1, round(float(line) / per_step))
            took = run(steps)
            per_step = took / steps
            print(steps * MICROBATCHES, took, flush=True)
    finally:
        for rank in ranks:
            rank.communicate()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        rank_main(int(sys.argv[3]), Path(sys.argv[1]), sys.argv[2])
    else:
        main(*sys.argv[1:])
