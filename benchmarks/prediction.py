"""Do predicted stage times and throughput come true? Models of the zoo are planned, run, and held against it.

For each model: a fresh profile, the best plan for so many stages on this machine, and a trial of it. Printed per model
are the median relative error of the stages' predicted computing times and the relative error of the throughput; at the
end their medians over the models. Bounds to meet: 5 % for stage times at the median, 10 % for throughput. A trial is
repeated, for a while, if other processes took part of the cores; what they took in the one that counts is printed.

    python benchmarks/prediction.py [--stages 2] [--seconds 6] [MODEL ...]
"""

import argparse
import tempfile
from operator import itemgetter
from pathlib import Path
from statistics import median

from interleave import undisturbed

from cutwater.cut.lattice import build_lattice
from cutwater.drivers.loop import run
from cutwater.frameworks.open import open_graph
from cutwater.lab.inputs import InputOptions, good_feeds, open_inputs
from cutwater.lab.machine import measure_machine
from cutwater.lab.planning import LocalTask, plan_locally
from cutwater.lab.trial import Trial, run_trial
from cutwater.services.workers.stages import plan_stages
from cutwater.zoo.packages import default_cache
from cutwater.zoo.registry import MODELS, build

USUAL = ("efficientnet-lite0", "mobilenet-v2", "resnet50", "yolov8n", "yolov3-tiny", "vit-tiny", "rapidocr-det")


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("models", nargs="*", default=USUAL, metavar="MODEL")
    options.add_argument("--stages", type=int, default=2)
    options.add_argument("--seconds", type=float, default=6.0, help="length of a trial, about")
    chosen = options.parse_args()
    conditions = measure_machine()
    print(f"{conditions.device}; {conditions.versions}; {chosen.stages} stages, one thread each\n")
    print(
        f"{'model':22} {'stages, predicted / measured':44} {'stage error':>11} {'throughput error':>17} {'others':>7}"
    )
    stage_errors: list[float] = []
    rates: list[float] = []
    for name in chosen.models:
        trial, others = _trial(name, chosen.stages, chosen.seconds)
        errors = [stage.predicted / stage.computed.median - 1 for stage in trial.stages]
        rate = trial.plan.score.throughput / trial.throughput - 1
        stage_errors.append(median(map(abs, errors)))
        rates.append(abs(rate))
        times = "  ".join(f"{s.predicted * 1e3:.2f} / {s.computed.median * 1e3:.2f} ms" for s in trial.stages)
        print(f"{name:22} {times:44} {stage_errors[-1]:>11.1%} {rate:>+17.1%} {others:>7.1%}", flush=True)
    print(f"\nmedian over {len(rates)} models: stage times {median(stage_errors):.1%}, throughput {median(rates):.1%}")


def _trial(name: str, stages: int, seconds: float) -> tuple[Trial, float]:
    """The trial, and the share of the cores that others took meanwhile."""
    graph = open_graph(build(name, default_cache()), MODELS[name].sizes)
    tensors = [graph.tensors[tensor] for tensor in graph.inputs]
    lattice = build_lattice(graph)
    with tempfile.TemporaryDirectory() as folder:
        requests = good_feeds(open_inputs("synthetic:3", tensors), 3)
        plan = plan_locally(LocalTask(lattice, requests, stages), Path(folder))[0]
    rounds = max(round(seconds * plan.score.throughput / 4), 10)
    items = open_inputs("synthetic:4", tensors, InputOptions(repeat=rounds))
    tries = run(undisturbed(lambda: run_trial(plan_stages(lattice, plan), plan, items)))
    share, trial = min(tries, key=itemgetter(0))
    return trial, share


if __name__ == "__main__":
    main()
