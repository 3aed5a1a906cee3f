"""`cutwater model add`, `list` and `remove`: the models a cluster knows."""

from collections.abc import Callable
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Codecs, Json, Sizes, comma_numbers, parse_codecs, parse_sizes
from cutwater.drivers.loop import run
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import InputError
from cutwater.lab.adding import LOSSLESS, Added, Addition, add_model, prepare, usual_preparation
from cutwater.report.table import table
from cutwater.services.asking import ClusterStatus, DeploymentStatus, Done, GetStatus, RemoveModel, ask_coordinator
from cutwater.services.cluster.overview import reached
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved
from cutwater.units import format_bytes
from cutwater.vision.prepare import Preparation
from cutwater.vision.resize import FITS
from cutwater.vision.task import TASKS
from cutwater.zoo.packages import default_cache


@with_settings("", "fabric")
def add(
    resolved: Resolved,
    model: Annotated[str, typer.Argument(help="An ONNX file, or a model of the zoo (`cutwater model make`).")],
    name: Annotated[str, typer.Option(help="How the cluster shall call it; default: as the file is called.")] = "",
    size: Sizes = [],  # noqa: B006
    task: Annotated[
        str, typer.Option(help=f"What it answers: {' or '.join(TASKS)}; default: as its outputs and classes tell.")
    ] = "",
    classes: Annotated[
        str, typer.Option(help="What its classes are called: imagenet, coco, or a file, one name a line.")
    ] = "",
    attach: Annotated[
        bool | None,
        typer.Option(
            "--attach/--no-attach",
            help="Make decoding the picture and choosing the answer ops of the model, which run where the plan says; "
            "default: for detectors of the zoo.",
        ),
    ] = None,
    mean: Annotated[str, typer.Option(help="Subtracted from pixels 0..255: one number or R,G,B.")] = "",
    std: Annotated[str, typer.Option(help="Pixels are divided by this afterwards: one number or R,G,B.")] = "",
    fit: Annotated[str, typer.Option(help=f"How pictures are fitted: {', '.join(FITS)}.")] = "",
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", help='What it is measured with: pictures, .npy or "synthetic:N".')
    ] = ["synthetic:3"],  # noqa: B006
    codec: Codecs = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Make a model known to the cluster: check it, measure it here, store it with its profile.

    It may be repeated: a model that is known as it is stays as it is.
    """
    addition = Addition(
        source=model,
        name=name,
        sizes=dict(parse_sizes(size)),
        task=task,
        classes=classes,
        preparation=_preparation(mean, std, fit, usual_preparation(task)),
        attach=attach,
        inputs=inputs,
        codecs=parse_codecs(codec) or LOSSLESS,
    )
    with progress("adding") as report:
        added = prepare(addition, default_cache(), lambda what, share: report(f"measuring {what}", 0.8 * share))
        new = run(_store(resolved, added, lambda done, of: report("storing", 0.8 + 0.2 * done / max(of, 1))))
    if json:
        print_json({"new": new, **_facts(added.record)})
        return
    record = added.record
    said = "is known now" if new else "was known already"
    results.print(f"{escape(record.name)} {said}: {format_bytes(record.nbytes)}, hash {record.hash[:12]}")
    if new:
        messages.print(f"next:  cutwater deploy {escape(record.name)}")


async def _store(resolved: Resolved, added: Added, told: Callable[[int, int], None]) -> bool:
    async with reached(Home(resolved.home), resolved.settings.fabric, "model add") as fabric:
        return await add_model(fabric, added, told)


@with_settings("", "fabric")
def list_models(resolved: Resolved, json: Json = False) -> None:
    """List the models the cluster knows."""
    status = run(_status(resolved))
    deployed = {each.spec.model: each for each in status.deployments if not each.removed}
    if json:
        print_json([{**_facts(each), "deployed": each.name in deployed} for each in status.models])
        return
    made = table("Models", "model", "size", "takes", "gives", "task", "hash", "deployed")
    for record in sorted(status.models, key=lambda each: each.name):
        made.add_row(
            escape(record.name),
            format_bytes(record.nbytes),
            escape(", ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in record.inputs)),
            escape(", ".join(f"{each.name} {list(each.shape)}" for each in record.outputs)),
            record.task or "-",
            record.hash[:12],
            _state(deployed.get(record.name)),
        )
    results.print(made)


@with_settings("", "fabric")
def remove(
    resolved: Resolved, model: Annotated[str, typer.Argument(help="Its name in the cluster.")], json: Json = False
) -> None:
    """Have the cluster forget a model that is not deployed."""
    run(_remove(resolved, model))
    if json:
        print_json({"model": model, "removed": True})
        return
    results.print(f"{escape(model)} is forgotten")


async def _remove(resolved: Resolved, model: str) -> None:
    async with reached(Home(resolved.home), resolved.settings.fabric, "model remove") as fabric:
        await ask_coordinator(fabric, RemoveModel(model), Done)


async def _status(resolved: Resolved) -> ClusterStatus:
    async with reached(Home(resolved.home), resolved.settings.fabric, "model list") as fabric:
        return await ask_coordinator(fabric, GetStatus(), ClusterStatus)


def _preparation(mean: str, std: str, fit: str, usual: Preparation) -> Preparation | None:
    """What was given, on top of the usual; None: nothing was. Raises BadQuantity, InputError."""
    if fit and fit not in FITS:
        raise InputError(f"--fit {fit}: there is no such way; there are {', '.join(FITS)}")
    if not (mean or std or fit):
        return None
    return Preparation(
        comma_numbers(mean) if mean else usual.mean, comma_numbers(std) if std else usual.std, fit or usual.fit
    )


def _facts(record: ModelRecord) -> dict[str, object]:
    facts: dict[str, object] = msgspec.to_builtins(record)
    facts["labels"] = len(record.labels)
    return facts


def _state(deployment: DeploymentStatus | None) -> str:
    if deployment is None:
        return "no"
    return "parked" if deployment.parked else "yes"
