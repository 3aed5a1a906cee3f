"""Reads a study from its YAML file; what is wrong in it is said with file, line and field.

name: two-models
question: what do pipelines over both nodes bring?
models:
  left: {source: resnet50}                       # a file or a model of the zoo, measured here
  right: {seconds: 50 ms, weights: 100 MB}       # or figures
nodes: {count: 2}
slo: 5x                                          # optional: times what a request takes alone
placements:
  apart: {method: one-per-node}                  # as the planner does it
  together: {groups: [{nodes: [1, 2], models: [left, right]}]}
baseline: apart
workloads:
  poisson:                                       # as in docs/workloads.md
    duration: 10 min
    models: {left: {arrivals: {kind: poisson, rate: 1/s}}, right: {arrivals: {kind: poisson, rate: 1/s}}}
sweeps:
  latency: {load: [0.6, 0.75]}
"""

from pathlib import Path

from cutwater.errors import InputError
from cutwater.lab.studies.study import Study
from cutwater.plan.reading import Place, read_yaml
from cutwater.units import check_name
from cutwater.workload.files import Reader


def load_study(path: Path) -> Study:
    """The study a file describes (its form stands at the top of this file; other files lie relative to it).

    Raises:
        BadFile: With file, line and field, for anything missing, unknown, double, or out of its range.
    """
    root = read_yaml(path)
    study: Study = Reader(path.parent).struct(root, Study)
    top = root.entries()
    _check_names("study", {study.name: top["name"]})
    for what in ("model", "placement", "workload", "sweep"):
        _check_names(what, top[f"{what}s"].entries())
    for model, place in top["models"].entries().items():
        source = study.models[model].source
        if source.endswith(".onnx") and not (path.parent / source).is_file():
            place.entries()["source"].bad(f"there is no file {path.parent / source}")
    return study


def _check_names(what: str, places: dict[str, Place]) -> None:
    for name, place in places.items():
        try:
            check_name(what, name)
        except InputError as error:
            place.bad(str(error))
