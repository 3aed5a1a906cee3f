"""`cutwater deploy` and `cutwater undeploy`: bring a model up over the nodes, and take it down."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.cli.flags import with_settings
from cutwater.cli.load_flags import parse_share
from cutwater.cli.options import Cuts, Json, ObjectiveText, parse_timeout, refuse_given
from cutwater.drivers.loop import run
from cutwater.engine.facts.deployments import DeploySpec, EpochPhase, Scaling
from cutwater.engine.facts.nodes import Phase
from cutwater.errors import BadSetting, NoPlan
from cutwater.plan.many.files import ManyPlan, load_many
from cutwater.plan.objective import parse_objective
from cutwater.report.cluster import stages_table
from cutwater.services.asking import DeploymentStatus, Done, Undeploy, ask_coordinator
from cutwater.services.cluster.deploying import deploy as ask_deploy
from cutwater.services.cluster.deploying import live_epoch, until_live
from cutwater.services.cluster.overview import reached
from cutwater.services.cluster.placing import left_open, to_specs
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import NodeId, Seconds, format_seconds, parse_seconds

Name = Annotated[str, typer.Argument(help="Its name in the cluster; see `cutwater model list`.", show_default=False)]
PlacementFile = Annotated[
    Path | None,
    typer.Option(help="Instead of one model all those of a file of `cutwater plan --workload`.", metavar="FILE"),
]
Budget = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Largest relative error of the outputs that one hop's codec may cause; beyond 0, codecs that lose "
        "something are chosen from those that `cutwater model add --codec` has measured.",
    ),
]
Stages = Annotated[int | None, typer.Option(min=1, help="Number of stages; default: as many as are best.")]
On = Annotated[
    list[str],
    typer.Option(
        "--on",
        help="A node it may run on; default: any. With --cut the node of the first, second, ... stage; - leaves "
        "it open.",
    ),
]
Replicas = Annotated[int, typer.Option(min=1, help="Workers of the busiest stage.")]
Chains = Annotated[int, typer.Option(min=1, help="Independent ways through, on nodes of their own.")]
Scale = Annotated[
    str,
    typer.Option(help="As many chains as the demand needs, such as 1..4; instead of --chains.", metavar="A..B"),
]
Target = Annotated[str, typer.Option(help="With --scale: the share of the requests to be answered within --timeout.")]
Idle = Annotated[
    str, typer.Option(help="With --scale: unused for so long it is taken down until somebody asks; 0 s: never.")
]
Spares = Annotated[int, typer.Option(min=0, help="Warm workers of each stage, used when no other is left.")]
Window = Annotated[int, typer.Option(min=1, help="Most requests under way at once, per gateway.")]
Timeout = Annotated[str, typer.Option(help="A request's time, where its client does not say.")]
Fallback = Annotated[
    bool, typer.Option("--fallback/--no-fallback", help="Let the gateway answer when nobody else is left.")
]
Together = Annotated[
    int,
    typer.Option(
        "--batch", min=1, help="Most requests a stage computes together, of those that wait; see `cutwater profile`."
    ),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is live, or at once.")]
Within = Annotated[str, typer.Option(help="How long to wait until it is live.")]
NONE: list[str] = []


@with_settings("", "fabric")
def deploy(
    resolved: Resolved,
    context: typer.Context,
    model: Name = "",
    placement: PlacementFile = None,
    objective: ObjectiveText = "throughput",
    budget: Budget = 0.0,
    stages: Stages = None,
    cut: Cuts = NONE,
    on: On = NONE,
    replicas: Replicas = 1,
    chains: Chains = 1,
    scale: Scale = "",
    target: Target = "99 %",
    idle: Idle = "0 s",
    spares: Spares = 0,
    window: Window = 64,
    timeout: Timeout = "30 s",
    batch: Together = 1,
    fallback: Fallback = True,
    wait: Wait = True,
    within: Within = "5 min",
    json: Json = False,
) -> None:
    """Bring a model up over the nodes, or change how it runs; answers go on meanwhile."""
    parse_objective(objective)
    limit = parse_seconds(within) if wait else 0.0
    if placement is not None:
        refuse_given(context, OF_ONE, "is said by the placement")
        _deploy_many(resolved, load_many(placement), limit, json)
        return
    if not model:
        raise BadSetting("name a model, or give --placement FILE")
    spec = DeploySpec(
        model=model,
        objective=objective,
        budget=budget,
        stages=stages,
        nodes=() if cut else tuple(map(NodeId, on)),
        cuts=tuple(cut),
        places=tuple(NodeId("" if name == "-" else name) for name in on) if cut else (),
        chains=chains,
        scaling=_scaling(scale, target, idle, chains),
        replicas=replicas,
        spares=spares,
        fallback=fallback,
        window=window,
        timeout=parse_timeout(timeout),
        batch=batch,
    )
    [status] = run(_deploy(resolved, [spec], limit))
    if json:
        print_json(_facts(spec, status))
        return
    _tell(spec, status)
    if status is not None:
        messages.print(f"next:  cutwater infer {escape(model)} INPUT")


OF_ONE = {"model", "objective", "budget", "stages", "cut", "on", "replicas", "chains", "spares", "window", "timeout"}
OF_ONE |= {"batch", "fallback", "scale", "target", "idle"}


def _scaling(scale: str, target: str, idle: str, chains: int) -> Scaling | None:
    """``1..4``, or ``4`` for the same. Raises BadSetting, BadQuantity."""
    if not scale:
        return None
    if chains > 1:
        raise BadSetting("--scale says how many chains there may be; leave --chains out")
    least, dots, most = scale.partition("..")
    try:
        bounds = (int(least), int(most)) if dots else (1, int(least))
    except ValueError:
        raise BadSetting(f"--scale {scale}: write the fewest and the most chains, such as 1..4") from None
    return Scaling(least=bounds[0], most=bounds[1], target=parse_share(target, "--target"), idle=parse_seconds(idle))


def _deploy_many(resolved: Resolved, many: ManyPlan, limit: Seconds, json: bool) -> None:
    specs = to_specs(many)
    if not specs:
        raise NoPlan("the placement has no model that anybody serves")
    found = run(_deploy(resolved, specs, limit))
    for name in left_open(many):
        messages.print(f"{name}: which of its nodes make a chain together is left to the coordinator", markup=False)
    for model in many.models:
        if not model.ways:
            messages.print(f"{model.name}: nobody serves it in this placement", markup=False)
    if json:
        print_json([_facts(spec, status) for spec, status in zip(specs, found, strict=True)])
        return
    for spec, status in zip(specs, found, strict=True):
        _tell(spec, status)


def _facts(spec: DeploySpec, status: DeploymentStatus | None) -> object:
    return msgspec.to_builtins(status) if status is not None else {"model": spec.model, "asked": True}


def _tell(spec: DeploySpec, status: DeploymentStatus | None) -> None:
    if status is None:
        messages.print(f"asked for; `cutwater status` tells how far {escape(spec.model)} is")
        return
    epoch = live_epoch(status)
    assert epoch is not None
    results.print(stages_table(status, epoch))
    results.print(
        f"\n{escape(spec.model)} is live: predicted {epoch.throughput:.4g} answers/s, "
        f"{format_seconds(epoch.latency)} for one alone"
    )


async def _deploy(
    resolved: Resolved, specs: Sequence[DeploySpec], limit: Seconds
) -> list[DeploymentStatus] | list[None]:
    """Ask for all, then wait for one after the other: they come up side by side."""
    async with reached(Home(resolved.home), resolved.settings.fabric, "deploy") as fabric:
        before = [await ask_deploy(fabric, spec) for spec in specs]
        if not limit:
            return [None] * len(specs)
        found = []
        for spec, after in zip(specs, before, strict=True):
            with progress(spec.model) as report:
                told = lambda status: report(*_how_far(status))  # noqa: E731
                found.append(await until_live(fabric, spec, after, limit, told))
        return found


def _how_far(status: DeploymentStatus) -> tuple[str, float]:
    """What is being done, and the share of it that is."""
    coming = next((e for e in reversed(status.epochs) if e.phase in (EpochPhase.STARTING, EpochPhase.PROBING)), None)
    if coming is None:
        return ("live", 1.0) if live_epoch(status) is not None else ("planning", 0.0)
    if coming.phase is EpochPhase.PROBING:
        return "probing", 0.95
    ready = sum(worker.state is not None and worker.state.phase is Phase.READY for worker in coming.workers)
    phases = {worker.state.phase.value for worker in coming.workers if worker.state is not None} - {Phase.READY.value}
    doing = ", ".join(sorted(phases)) or "starting"
    return f"{ready} of {len(coming.workers)} workers ready, {doing}", 0.1 + 0.8 * ready / max(len(coming.workers), 1)


@with_settings("", "fabric")
def undeploy(resolved: Resolved, model: Name, json: Json = False) -> None:
    """Take a model down; what is under way is finished."""
    run(_undeploy(resolved, model))
    if json:
        print_json({"model": model, "undeployed": True})
        return
    results.print(f"{escape(model)} is being taken down")


async def _undeploy(resolved: Resolved, model: str) -> None:
    async with reached(Home(resolved.home), resolved.settings.fabric, "undeploy") as fabric:
        await ask_coordinator(fabric, Undeploy(model), Done)
