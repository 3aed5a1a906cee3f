"""`cutwater deploy` and `cutwater undeploy`: bring a model up over the nodes, and take it down."""

from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Cuts, Json, parse_timeout
from cutwater.drivers.loop import run
from cutwater.engine.cluster import DeploySpec, EpochPhase, Phase
from cutwater.plan.objective import parse_objective
from cutwater.report.cluster import stages_table
from cutwater.services.asking import DeploymentStatus, Done, Undeploy, ask_coordinator
from cutwater.services.cluster.deploying import deploy as ask_deploy
from cutwater.services.cluster.deploying import live_epoch, until_live
from cutwater.services.cluster.overview import reached
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import NodeId, Seconds, format_seconds, parse_seconds

Name = Annotated[str, typer.Argument(help="Its name in the cluster; see `cutwater model list`.", show_default=False)]


@with_settings("", "fabric")
def deploy(
    resolved: Resolved,
    model: Name,
    objective: Annotated[
        str, typer.Option(help='What for: latency, throughput, "throughput@latency<=50ms", "latency@rate=20".')
    ] = "throughput",
    budget: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Largest relative error of the outputs that one hop's codec may cause; beyond 0, codecs that lose "
            "something are chosen from those that `cutwater model add --codec` has measured.",
        ),
    ] = 0.0,
    stages: Annotated[int | None, typer.Option(min=1, help="Number of stages; default: as many as are best.")] = None,
    cut: Cuts = [],  # noqa: B006
    on: Annotated[
        list[str],
        typer.Option(
            "--on",
            help="A node it may run on; default: any. With --cut the node of the first, second, ... stage; - leaves "
            "it open.",
        ),
    ] = [],  # noqa: B006
    replicas: Annotated[int, typer.Option(min=1, help="Workers of the busiest stage.")] = 1,
    chains: Annotated[int, typer.Option(min=1, help="Independent ways through, on nodes of their own.")] = 1,
    spares: Annotated[int, typer.Option(min=0, help="Warm workers of each stage, used when no other is left.")] = 0,
    window: Annotated[int, typer.Option(min=1, help="Most requests under way at once, per gateway.")] = 64,
    timeout: Annotated[str, typer.Option(help="A request's time, where its client does not say.")] = "30 s",
    fallback: Annotated[
        bool, typer.Option("--fallback/--no-fallback", help="Let the gateway answer when nobody else is left.")
    ] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is live, or at once.")] = True,
    within: Annotated[str, typer.Option(help="How long to wait until it is live.")] = "5 min",
    json: Json = False,
) -> None:
    """Bring a model up over the nodes, or change how it runs; answers go on meanwhile."""
    parse_objective(objective)
    spec = DeploySpec(
        model=model,
        objective=objective,
        budget=budget,
        stages=stages,
        nodes=() if cut else tuple(map(NodeId, on)),
        cuts=tuple(cut),
        places=tuple(NodeId("" if name == "-" else name) for name in on) if cut else (),
        chains=chains,
        replicas=replicas,
        spares=spares,
        fallback=fallback,
        window=window,
        timeout=parse_timeout(timeout),
    )
    status = run(_deploy(resolved, spec, parse_seconds(within) if wait else 0.0))
    if json:
        print_json(msgspec.to_builtins(status) if status is not None else {"model": model, "asked": True})
        return
    if status is None:
        messages.print(f"asked for; `cutwater status` tells how far {escape(model)} is")
        return
    epoch = live_epoch(status)
    assert epoch is not None
    results.print(stages_table(status, epoch))
    results.print(
        f"\n{escape(model)} is live: predicted {epoch.throughput:.4g} answers/s, "
        f"{format_seconds(epoch.latency)} for one alone"
    )
    messages.print(f"next:  cutwater infer {escape(model)} INPUT")


async def _deploy(resolved: Resolved, spec: DeploySpec, limit: Seconds) -> DeploymentStatus | None:
    async with reached(Home(resolved.home), resolved.settings.fabric, "deploy") as fabric:
        after = await ask_deploy(fabric, spec)
        if not limit:
            return None
        with progress(spec.model) as report:
            return await until_live(fabric, spec, after, limit, lambda status: report(*_how_far(status)))


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
