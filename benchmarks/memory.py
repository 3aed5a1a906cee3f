"""Memory: what a worker holds that has loaded and warmed a small stage and waits for requests.

Bound: 150 MB resident, without torch, onnx or PIL imported. The stage is the second half of a small model of the zoo,
served like every stage, asked once, and then left alone. Printed are, in MB of 10^6 bytes: RSS (resident, shared
libraries in full), PSS (shared pages divided by their users) and USS (its own pages alone); the stage's weights; the
same for an interpreter that has imported what the worker imports, so that what the stage adds can be seen; and which
packages are loaded.

    python benchmarks/memory.py [--models mobilenet-v2 vit-tiny] [--requests 20] [--json FILE]
"""

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from halves import cut_in_halves, pipeline_of
from interleave import conditions

from cutwater.drivers.loop import run

BOUND = 150.0
MODELS = ("mobilenet-v2", "efficientnet-lite0")
UNWANTED = ("torch", "onnx", "PIL")
IMPORTED = """
import sys
import cutwater.services.workers.worker
print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)), flush=True)
sys.stdin.read()
"""


def memory(pid: int) -> dict[str, float]:
    """RSS, PSS and USS in MB."""
    info = psutil.Process(pid).memory_full_info()
    return {name: getattr(info, name) / 1e6 for name in ("rss", "pss", "uss")}


def imports() -> tuple[list[str], dict[str, float]]:
    """The packages a worker has imported, the standard library left out, and the memory of having done only that."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        names = process.stdout.readline().split()
        return [name for name in names if not name.startswith("_")], memory(process.pid)
    finally:
        process.communicate()


async def idle_worker(model: str, requests: int) -> dict[str, Any]:
    """The worker of the model's second half, after so many requests and a second of rest."""
    halves = cut_in_halves(model)
    async with pipeline_of(halves) as pipeline:
        worker = pipeline.workers[1]
        loaded = memory(worker.pid)
        for k in range(requests):
            await pipeline.infer(halves.requests[k % len(halves.requests)])
        await asyncio.sleep(1)
        mapped = [region.path for region in psutil.Process(worker.pid).memory_maps()]
        return {
            "model": model,
            "weights": halves.stages[1].weight_bytes / 1e6,
            "border": halves.cut.border_bytes / 1e6,
            "loaded": loaded,
            "idle": memory(worker.pid),
            "mapped": sorted(name for name in UNWANTED if any(f"site-packages/{name}/" in path for path in mapped)),
        }


def main() -> None:
    """Measure and print; the exit code is 1 if the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write conditions and figures here")
    arguments = parser.parse_args()
    where = conditions(["cutwater", "onnxruntime", "numpy", "msgspec", "uvloop"])
    print(where)
    names, bare = imports()
    print(f"a worker imports: {', '.join(names)}")
    print(f"{'':42} {'weights':>8} {'RSS':>8} {'PSS':>8} {'USS':>8}  RSS / bound")
    line("imports alone", 0.0, bare)
    rows = [run(idle_worker(model, arguments.requests)) for model in arguments.models]
    for row in rows:
        line(f"{row['model']}, second half, loaded", row["weights"], row["loaded"])
        line(f"{row['model']}, idle after requests", row["weights"], row["idle"])
    if arguments.json:
        facts = {"conditions": where, "imports": names, "bare": bare, "rows": rows}
        arguments.json.write_text(json.dumps(facts, indent=1))
    worst = max(row["idle"]["rss"] for row in rows)
    unwanted = {*UNWANTED} & {*names, *(name for row in rows for name in row["mapped"])}
    print(f"of {', '.join(UNWANTED)}, imported or mapped by a worker: {', '.join(sorted(unwanted)) or 'none'}")
    print(f"worst RSS / bound of {BOUND:g} MB: {worst / BOUND:.2f}")
    sys.exit(1 if unwanted or worst > BOUND else 0)


def line(name: str, weights: float, found: dict[str, float]) -> None:
    """One line of the table, in MB."""
    rss, pss, uss = (found[kind] for kind in ("rss", "pss", "uss"))
    print(f"{name:42} {weights:8.1f} {rss:8.1f} {pss:8.1f} {uss:8.1f}  {rss / BOUND:.2f}")


if __name__ == "__main__":
    main()
