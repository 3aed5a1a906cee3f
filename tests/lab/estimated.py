"""A profile by FLOPs where one would be looked for, so that adding a model need not measure it for a minute."""

from pathlib import Path

from cutwater.frameworks.open import open_graph
from cutwater.lab.adding import LOSSLESS
from cutwater.lab.machine import measure_machine
from cutwater.lab.timing import MeasureOptions
from cutwater.profile.files import save_profile
from cutwater.profile.profile import BorderSample, FrameCost, LocalHop, Profile, Sample
from cutwater.units import Seconds


def estimate(file: Path, cache: Path, seconds: Seconds, **sizes: int) -> None:
    """So long takes the model at these ``sizes`` on this machine; what crosses a border stays as it is."""
    graph = open_graph(file, sizes)
    nbytes = sum(graph.tensors[name].nbytes for name in graph.inputs)
    profile = Profile(
        model=graph.name,
        model_hash=graph.hash,
        conditions=measure_machine(MeasureOptions()),
        ops={op.name: Sample(1e-5 + seconds * op.flops / graph.flops, 0.0, 1) for op in graph.ops},
        whole=Sample(seconds, 0.0, 1),
        stage_overhead=1e-4,
        contention=1.0,
        borders=tuple(
            BorderSample(cut="0", codec=name, nbytes=nbytes, encode=0.0, decode=0.0, error=0.0) for name in LOSSLESS
        ),
        entrance=FrameCost(),
        local=LocalHop(1e-4, 1e9),
        base_memory=50_000_000,
    )
    (cache / "profiles").mkdir(exist_ok=True)
    save_profile(profile, cache / "profiles" / f"{graph.name}-{graph.hash[:12]}-t1-b1.profile.yaml")
