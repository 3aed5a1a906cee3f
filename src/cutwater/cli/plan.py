"""`cutwater plan`: the best places to cut a model for a fleet; or, with a workload, who of many models runs where."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.cli.options import (
    Codecs,
    Cuts,
    InputSpecs,
    Json,
    ObjectiveText,
    Sizes,
    parse_codecs,
    parse_sizes,
    refuse_given,
)
from cutwater.cli.plan_many import Asking, plan_many_models
from cutwater.cut.lattice import Lattice, build_lattice, find_cut
from cutwater.errors import BadSetting
from cutwater.frameworks.open import open_graph
from cutwater.lab.inputs import good_feeds, open_inputs
from cutwater.lab.planning import fleet_here
from cutwater.lab.profiles import profile_for
from cutwater.lab.timing import usable_cores
from cutwater.plan.build import build_problem
from cutwater.plan.choose import Decision, decided_plan
from cutwater.plan.explain import explain as explained
from cutwater.plan.files import save_plan
from cutwater.plan.fleet import Fleet, load_fleet
from cutwater.plan.many.choose import ANYTIME, METHODS
from cutwater.plan.objective import parse_objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Limits
from cutwater.plan.solve import SOLVERS, make_plan
from cutwater.profile.files import load_profile
from cutwater.profile.profile import Profile
from cutwater.report.tables import comparison_table, plan_summary, plan_table
from cutwater.zoo.packages import default_cache

MANY = "Many models"
FOR_ONE = {"model", "objective", "inputs", "size", "codec", "budget", "replicas", "cut", "on", "mode"}
FOR_ONE |= {"solver", "explain"}
FOR_MANY = {"slo", "file", "method", "seed", "steps", "within", "simulate"}


def plan(
    context: typer.Context,
    model: Annotated[Path | None, typer.Argument(help="An ONNX file; not with --workload.", show_default=False)] = None,
    fleet: Annotated[Path | None, typer.Option(help="The nodes and links (YAML); default: this machine.")] = None,
    objective: ObjectiveText = "latency",
    profile: Annotated[
        list[str],
        typer.Option(
            help="A profile of the model, or of one of many; default: measured on this machine, once.",
            metavar="[MODEL=]FILE",
        ),
    ] = [],  # noqa: B006
    inputs: InputSpecs = ["synthetic:3"],  # noqa: B006
    size: Sizes = [],  # noqa: B006
    codec: Codecs = [],  # noqa: B006
    budget: Annotated[
        float, typer.Option(min=0.0, help="Largest relative error of the outputs that one hop's codec may cause.")
    ] = 0.0,
    stages: Annotated[
        int | None,
        typer.Option(min=1, help="Exactly so many; default: as many as help. With --workload: so many at most."),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Most nodes of a kind that may share one stage.")] = 1,
    cut: Cuts = [],  # noqa: B006
    on: Annotated[list[str], typer.Option("--on", help="Node of the first, second, ... stage; - leaves it open.")] = [],  # noqa: B006
    mode: Annotated[str | None, typer.Option(help="Your choice by name: only-source, only-remote or even.")] = None,
    solver: Annotated[str, typer.Option(help=f"One of {', '.join(SOLVERS)}.")] = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="Name the bottleneck and what would move it.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the plan here: YAML, of many models JSON.")
    ] = None,
    json: Json = False,
    workload: Annotated[
        Path | None, typer.Option(help="Plan all models that this workload asks.", rich_help_panel=MANY)
    ] = None,
    slo: Annotated[
        list[str],
        typer.Option(
            help="To answer in: 200ms, or 5x what a request takes alone; goes before the workload's.",
            metavar="[MODEL=]TIME",
            rich_help_panel=MANY,
        ),
    ] = [],  # noqa: B006
    file: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="A model's file, or name in the zoo; default: as the workload calls it.",
            metavar="MODEL=FILE",
            rich_help_panel=MANY,
        ),
    ] = [],  # noqa: B006
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.", rich_help_panel=MANY)] = ANYTIME,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the search, and instead of the workload's.", rich_help_panel=MANY)
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of the search, at most.", rich_help_panel=MANY)] = 1000,
    within: Annotated[str, typer.Option(help="Longest time of the search.", rich_help_panel=MANY)] = "5 min",
    simulate: Annotated[
        int,
        typer.Option(
            min=0,
            help="Requests by which the engine in virtual time decides between the last few; 0: none.",
            rich_help_panel=MANY,
        ),
    ] = 20_000,
) -> None:
    """Find the best plan for a model and a fleet, with a bound on how far from optimal it can be.

    With --cut, --on or --mode your own choice is planned, shown beside the best one, and written with -o.

    With --workload it is decided who of many models runs on which nodes, whole or cut, so that most requests are
    answered in time; Ctrl-C ends the search with the best found so far.
    """
    if workload is not None:
        refuse_given(context, FOR_ONE, "is about one model, and does not go with --workload")
        plan_many_models(
            Asking(
                workload=workload,
                slos=slo,
                files=file,
                profiles=profile,
                fleet=fleet,
                method=method,
                stages=stages,
                seed=seed,
                steps=steps,
                within=within,
                simulate=simulate,
                out=out,
                json=json,
            )
        )
        return
    refuse_given(context, FOR_MANY, "is about many models, and needs --workload")
    if model is None:
        raise BadSetting("give an ONNX file to plan one model, or --workload FILE to plan many")
    graph = open_graph(model, parse_sizes(size))
    lattice = build_lattice(graph)
    aim = parse_objective(objective)
    nodes = load_fleet(fleet) if fleet is not None else None
    codecs = parse_codecs(codec)
    if profile:
        measured = load_profile(_only(profile))
    else:
        requests = good_feeds(open_inputs(inputs, [graph.tensors[name] for name in graph.inputs]), 3)
        with progress("measuring the model") as report:
            measured = profile_for(graph, requests, default_cache() / "profiles", codecs=codecs, progress=report)
    problem = build_problem(
        lattice,
        measured,
        nodes or fleet_here(measured, stages or len(usable_cores())),
        profiles=_profiles_of(nodes, fleet),
        codecs=codecs,
        budget=budget,
        limits=Limits(min_stages=stages or 1, max_stages=stages, max_replicas=replicas),
    )
    best = make_plan(problem, aim, solver)
    decision = _decision(lattice, cut, on, mode, stages)
    chosen = best if decision is None else decided_plan(problem, aim, decision, best)
    advice = explained(problem, aim, chosen) if explain else []
    if out is not None:
        save_plan(chosen, out)
        messages.print(f"written: {out}")
    if json:
        said = {"plan": msgspec.to_builtins(chosen), "advice": [str(each) for each in advice]}
        print_json(said if chosen is best else {**said, "best": msgspec.to_builtins(best)})
        return
    _tell(chosen, best)
    for each in advice:
        results.print(f"- {each}")


def _only(profiles: list[str]) -> Path:
    """Raises BadSetting where there are several."""
    if len(profiles) > 1:
        raise BadSetting("--profile: one model has one profile; give it once")
    return Path(profiles[0])


def _profiles_of(nodes: Fleet | None, fleet: Path | None) -> dict[str, Profile]:
    """The profiles the fleet's nodes name, found beside the fleet file."""
    if nodes is None or fleet is None:
        return {}
    names = {node.profile for node in nodes.nodes if node.profile is not None}
    return {name: load_profile(fleet.parent / name) for name in sorted(names)}


def _decision(
    lattice: Lattice, cuts: list[str], on: list[str], mode: str | None, stages: int | None
) -> Decision | None:
    if not (cuts or on or mode):
        return None
    indices = tuple(lattice.position[find_cut(lattice, text).before] for text in cuts)
    nodes = tuple(None if name == "-" else name for name in on)
    return Decision(mode=mode, cuts=indices, nodes=nodes, stages=stages)


def _tell(chosen: Plan, best: Plan) -> None:
    results.print(plan_table(chosen))
    results.print(plan_summary(chosen))
    if chosen is not best:
        results.print()
        results.print(comparison_table({"your choice": chosen, "the best plan": best}))
