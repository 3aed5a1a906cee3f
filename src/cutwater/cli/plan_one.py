"""`cutwater plan MODEL`: the best places to cut one model for a fleet."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.cli.options import parse_codecs, parse_sizes
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
from cutwater.plan.objective import parse_objective
from cutwater.plan.plan import Plan
from cutwater.plan.problem import Limits
from cutwater.plan.solve import make_plan
from cutwater.profile.files import load_profile
from cutwater.profile.profile import Profile
from cutwater.report.tables import comparison_table, plan_summary, plan_table
from cutwater.zoo.packages import default_cache


class One(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of one model; see `cutwater.cli.plan.plan`."""

    model: Path
    fleet: Path | None
    objective: str
    profile: Sequence[str]
    inputs: list[str]
    size: list[str]
    codec: list[str]
    budget: float
    stages: int | None
    replicas: int
    cut: Sequence[str]
    on: Sequence[str]
    mode: str | None
    solver: str
    explain: bool
    out: Path | None
    json: bool


def plan_one_model(one: One) -> None:
    """Read, measure, plan, tell."""
    graph = open_graph(one.model, parse_sizes(one.size))
    lattice = build_lattice(graph)
    aim = parse_objective(one.objective)
    nodes = load_fleet(one.fleet) if one.fleet is not None else None
    codecs = parse_codecs(one.codec)
    if one.profile:
        measured = load_profile(_only(one.profile))
    else:
        requests = good_feeds(open_inputs(one.inputs, [graph.tensors[name] for name in graph.inputs]), 3)
        with progress("measuring the model") as report:
            measured = profile_for(graph, requests, default_cache() / "profiles", codecs=codecs, progress=report)
    problem = build_problem(
        lattice,
        measured,
        nodes or fleet_here(measured, one.stages or len(usable_cores())),
        profiles=_profiles_of(nodes, one.fleet),
        codecs=codecs,
        budget=one.budget,
        limits=Limits(min_stages=one.stages or 1, max_stages=one.stages, max_replicas=one.replicas),
    )
    best = make_plan(problem, aim, one.solver)
    decision = _decision(lattice, one)
    chosen = best if decision is None else decided_plan(problem, aim, decision, best)
    advice = explained(problem, aim, chosen) if one.explain else []
    if one.out is not None:
        save_plan(chosen, one.out)
        messages.print(f"written: {one.out}")
    if one.json:
        facts = {"plan": msgspec.to_builtins(chosen), "advice": [str(each) for each in advice]}
        print_json(facts if chosen is best else {**facts, "best": msgspec.to_builtins(best)})
        return
    _tell(chosen, best)
    for each in advice:
        results.print(f"- {each}")


def _only(profiles: Sequence[str]) -> Path:
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


def _decision(lattice: Lattice, one: One) -> Decision | None:
    """What was decided already; None: nothing."""
    if not (one.cut or one.on or one.mode):
        return None
    indices = tuple(lattice.position[find_cut(lattice, text).before] for text in one.cut)
    nodes = tuple(None if name == "-" else name for name in one.on)
    return Decision(mode=one.mode, cuts=indices, nodes=nodes, stages=one.stages)


def _tell(chosen: Plan, best: Plan) -> None:
    results.print(plan_table(chosen))
    results.print(plan_summary(chosen))
    if chosen is not best:
        results.print()
        results.print(comparison_table({"your choice": chosen, "the best plan": best}))
