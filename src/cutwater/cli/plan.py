"""`cutwater plan`: the best places to cut a model for a fleet; or, with a workload, who of many models runs where."""

from pathlib import Path
from typing import Annotated

import typer

from cutwater.cli.options import Codecs, Cuts, InputSpecs, Json, ObjectiveText, Sizes, refuse_given, said
from cutwater.cli.plan_many import Many, plan_many_models
from cutwater.cli.plan_one import One, plan_one_model
from cutwater.errors import BadSetting
from cutwater.plan.many.choose import ANYTIME, METHODS
from cutwater.plan.solve import SOLVERS

MANY = "Many models"
FOR_ONE = {"model", "objective", "inputs", "size", "codec", "budget", "replicas", "cut", "on", "mode"}
FOR_ONE |= {"solver", "explain"}
FOR_MANY = {"slo", "file", "method", "batch", "seed", "steps", "within", "simulate"}
NONE: list[str] = []
SYNTHETIC = ["synthetic:3"]

Model = Annotated[Path | None, typer.Argument(help="An ONNX file; not with --workload.", show_default=False)]
FleetFile = Annotated[Path | None, typer.Option(help="The nodes and links (YAML); default: this machine.")]
Profiles = Annotated[
    list[str],
    typer.Option(
        help="A profile of the model, or of one of many; default: measured on this machine, once.",
        metavar="[MODEL=]FILE",
    ),
]
Budget = Annotated[
    float, typer.Option(min=0.0, help="Largest relative error of the outputs that one hop's codec may cause.")
]
Stages = Annotated[
    int | None,
    typer.Option(min=1, help="Exactly so many; default: as many as help. With --workload: so many at most."),
]
Replicas = Annotated[int, typer.Option(min=1, help="Most nodes of a kind that may share one stage.")]
On = Annotated[list[str], typer.Option("--on", help="Node of the first, second, ... stage; - leaves it open.")]
Mode = Annotated[str | None, typer.Option(help="Your choice by name: only-source, only-remote or even.")]
Solver = Annotated[str, typer.Option(help=f"One of {', '.join(SOLVERS)}.")]
Explain = Annotated[bool, typer.Option("--explain", help="Name the bottleneck and what would move it.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the plan here: YAML, of many models JSON.")]
WorkloadFile = Annotated[
    Path | None, typer.Option(help="Plan all models that this workload asks.", rich_help_panel=MANY)
]
Slos = Annotated[
    list[str],
    typer.Option(
        help="To answer in: 200ms, or 5x what a request takes alone; goes before the workload's.",
        metavar="[MODEL=]TIME",
        rich_help_panel=MANY,
    ),
]
Files = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="A model's file, or name in the zoo; default: as the workload calls it.",
        metavar="MODEL=FILE",
        rich_help_panel=MANY,
    ),
]
Method = Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.", rich_help_panel=MANY)]
Together = Annotated[
    int,
    typer.Option(
        "--batch", min=1, help="Most requests a stage may compute together, where that gains.", rich_help_panel=MANY
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Of the search, and instead of the workload's.", rich_help_panel=MANY)
]
Steps = Annotated[int, typer.Option(min=1, help="Of the search, at most.", rich_help_panel=MANY)]
Within = Annotated[str, typer.Option(help="Longest time of the search.", rich_help_panel=MANY)]
Simulate = Annotated[
    int,
    typer.Option(
        min=0,
        help="Requests by which the engine in virtual time decides between the last few; 0: none.",
        rich_help_panel=MANY,
    ),
]


def plan(
    context: typer.Context,
    model: Model = None,
    fleet: FleetFile = None,
    objective: ObjectiveText = "latency",
    profile: Profiles = NONE,
    inputs: InputSpecs = SYNTHETIC,
    size: Sizes = NONE,
    codec: Codecs = NONE,
    budget: Budget = 0.0,
    stages: Stages = None,
    replicas: Replicas = 1,
    cut: Cuts = NONE,
    on: On = NONE,
    mode: Mode = None,
    solver: Solver = "auto",
    explain: Explain = False,
    out: Out = None,
    json: Json = False,
    workload: WorkloadFile = None,
    slo: Slos = NONE,
    file: Files = NONE,
    method: Method = ANYTIME,
    batch: Together = 1,
    seed: Seed = None,
    steps: Steps = 1000,
    within: Within = "5 min",
    simulate: Simulate = 20_000,
) -> None:
    """Find the best plan for a model and a fleet, with a bound on how far from optimal it can be.

    With --cut, --on or --mode your own choice is planned, shown beside the best one, and written with -o.

    With --workload it is decided who of many models runs on which nodes, whole or cut, so that most requests are
    answered in time; Ctrl-C ends the search with the best found so far.
    """
    flags = locals()
    if workload is not None:
        refuse_given(context, FOR_ONE, "is about one model, and does not go with --workload")
        plan_many_models(said(Many, flags))
        return
    refuse_given(context, FOR_MANY, "is about many models, and needs --workload")
    if model is None:
        raise BadSetting("give an ONNX file to plan one model, or --workload FILE to plan many")
    plan_one_model(said(One, flags))
