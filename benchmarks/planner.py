"""How long planning takes, and how far from proof it ends: ``python benchmarks/planner.py [--rounds 3]``."""

import argparse
import platform
import statistics
import time

import numpy as np

from cutwater.plan.instances import branch_masks, chain_masks, random_problem
from cutwater.plan.objective import Objective
from cutwater.plan.problem import Problem
from cutwater.plan.solve import SOLVERS
from cutwater.plan.solvers.base import Effort


def cases() -> list[tuple[str, float, list[Problem]]]:
    """(what, seconds it may take, problems)."""

    def different(nodes: int, masks: list[int], seeds: range, **rest: bool) -> list[Problem]:
        return [random_problem(np.random.default_rng(s), nodes=nodes, masks=masks, alike=0.0, **rest) for s in seeds]

    workers = [
        random_problem(np.random.default_rng(s), nodes=5, masks=chain_masks(99), alike=0.8, shared=True)
        for s in range(3)
    ]
    return [
        ("12 different nodes, 100 cuts", 1.0, different(12, chain_masks(99), range(5))),
        ("16 different nodes, 100 cuts", 5.0, different(16, chain_masks(99), range(5))),
        ("12 different nodes, 100 cuts, memory limits", 1.0, different(12, chain_masks(99), range(3), memory=True)),
        ("5 workers, shared host and radio, 100 cuts", 5.0, workers),
        ("4 different nodes, detector of 782 cuts", 1.0, different(4, branch_masks([14, 12, 3]), range(3))),
        ("4 different nodes, 32,770 cuts", 60.0, different(4, branch_masks([7] * 5), range(2))),
    ]


def main() -> None:
    """Print one line per case and objective: median and worst seconds, worst gap."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="cases that contain this text")
    arguments = parser.parse_args()
    print(f"python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}")
    print(f"{'case':48} {'objective':12} {'median':>8} {'worst':>8} {'limit':>6} {'gap':>8}")
    for name, limit, problems in cases():
        if arguments.only not in name:
            continue
        for objective in (Objective("latency"), Objective("throughput")):
            seconds, gaps = [], []
            for problem in problems * arguments.rounds:
                begin = time.perf_counter()
                solution = SOLVERS["auto"](problem, objective, Effort(rng=np.random.default_rng(0)))
                seconds.append(time.perf_counter() - begin)
                gaps.append(solution.gap)
            worst = max(seconds)
            print(
                f"{name:48} {objective!s:12} {statistics.median(seconds):7.2f}s {worst:7.2f}s {limit:5.0f}s "
                f"{max(gaps):8.2%}{'' if worst <= limit else '  over the limit'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
