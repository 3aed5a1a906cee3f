"""`cutwater model`: what a model is made of and where it can be cut; models that can be made on the spot."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cutwater.cli import models
from cutwater.cli.console import messages, print_json, results, write_file
from cutwater.cli.options import Json, Model, PixelMean, PixelStd, Sizes, parse_preparation, parse_sizes
from cutwater.cut.cut import Cut
from cutwater.cut.lattice import Lattice, best_cut_per_tenth, build_lattice, chain_cuts, find_cut
from cutwater.errors import InputError
from cutwater.frameworks.open import open_graph
from cutwater.graph.graph import Graph
from cutwater.graph.model import read_model
from cutwater.report.chain import draw_chain
from cutwater.units import format_bytes, format_flops

app = typer.Typer(help="Look into models, make some, and tell the cluster of them.", no_args_is_help=True)
app.command("add")(models.add)
app.command("list")(models.list_models)
app.command("remove")(models.remove)


@app.command()
def show(
    model: Model,
    size: Sizes = [],  # noqa: B006
    cut: Annotated[
        list[str], typer.Option("--cut", help='Also show this cut: "after LAYER", an index, or "40%".')
    ] = [],  # noqa: B006
    svg: Annotated[Path | None, typer.Option(help="Draw the model as a chain of blocks into this file.")] = None,
    json: Json = False,
) -> None:
    """Print ops, parameters, FLOPs, inputs and outputs, and the cheapest cut in each tenth of the FLOPs."""
    graph = open_graph(model, parse_sizes(size))
    lattice = build_lattice(graph)
    tenths = [found for found in best_cut_per_tenth(lattice) if found is not None]
    asked = sorted((find_cut(lattice, text) for text in cut), key=lambda found: found.flops_before)
    if svg is not None:
        write_file(svg, draw_chain(graph, chain_cuts(lattice), asked))
        messages.print(f"drawn: {svg}")
    if json:
        print_json(_facts(graph, lattice, tenths, asked))
        return
    _print_facts(graph, lattice)
    _print_cuts("The cheapest cut in each tenth of the FLOPs", graph, lattice, tenths)
    if asked:
        _print_cuts("The cuts asked for", graph, lattice, asked)


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="Which one; without it, they are listed.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write to (default: the cache).")] = None,
    json: Json = False,
) -> None:
    """Make a model of the zoo as an ONNX file: real weights where a package carries them, seeded ones otherwise."""
    from cutwater.zoo.packages import default_cache
    from cutwater.zoo.registry import MODELS, build

    if not name and json:
        print_json({known: {"what": entry.summary, "trained": entry.trained} for known, entry in MODELS.items()})
        return
    if not name:
        table = Table("name", "what", box=None)
        for known, entry in MODELS.items():
            table.add_row(known, entry.summary + (", trained" if entry.trained else ", seeded weights"))
        results.print(table)
        return
    _tell_path(build(name, out or default_cache()), json)


@app.command()
def attach(
    model: Model,
    task: Annotated[str, typer.Argument(help="classifier or detector.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file to write.")],
    mean: PixelMean = "0",
    std: PixelStd = "255",
    fit: Annotated[
        str | None, typer.Option(help="crop (classifier's default), letterbox (detector's) or stretch.")
    ] = None,
    json: Json = False,
) -> None:
    """Put picture decoding before a model and its answer behind it, as ops like any other.

    The result takes a picture's file and gives scores and classes, or boxes; "send the encoded picture" and "send only
    the answer" become cuts. Plan it with --size encoded_bytes=N, the size of a typical picture.
    """
    from cutwater.vision.attach import attach_classifier, attach_detector

    known = {"classifier": "crop", "detector": "letterbox"}
    if task not in known:
        raise InputError(f"there is no task {task!r}; there are classifier and detector")
    preparation = parse_preparation(mean, std, fit or known[task])
    network = read_model(model).proto
    whole = attach_classifier(network, preparation) if task == "classifier" else attach_detector(network, preparation)
    write_file(out, whole.SerializeToString())
    _tell_path(out, json)


def _tell_path(path: Path, json: bool) -> None:
    if json:
        print_json({"path": str(path), "bytes": path.stat().st_size})
        return
    results.print(str(path), soft_wrap=True, markup=False)


def _describe(graph: Graph, cut: Cut, index: int) -> dict[str, object]:
    return {
        "index": index,
        "label": cut.label,
        "flops_before": cut.flops_before,
        "flops_after": graph.flops - cut.flops_before,
        "border_bytes": cut.border_bytes,
        "width": cut.width,
        "border": [
            {"name": name, "dtype": graph.tensors[name].dtype, "shape": graph.tensors[name].shape}
            for name in cut.border
        ],
    }


def _facts(graph: Graph, lattice: Lattice, tenths: list[Cut], asked: list[Cut]) -> dict[str, object]:
    place = {cut.before: index for index, cut in enumerate(lattice.cuts)}

    def tensors(names: tuple[str, ...]) -> list[dict[str, object]]:
        return [
            {"name": name, "dtype": graph.tensors[name].dtype, "shape": graph.tensors[name].shape} for name in names
        ]

    return {
        "model": graph.name,
        "hash": graph.hash,
        "opsets": dict(graph.opsets),
        "ops": len(graph.ops),
        "weight_bytes": lattice.cuts[-1].weight_bytes_before,
        "flops": graph.flops,
        "inputs": tensors(graph.inputs),
        "outputs": tensors(graph.outputs),
        "batchable": graph.batchable,
        "cuts": {"count": len(lattice.cuts), "complete": lattice.complete},
        "cut_per_tenth": [_describe(graph, cut, place[cut.before]) for cut in tenths],
        "cuts_asked_for": [_describe(graph, cut, place[cut.before]) for cut in asked],
    }


def _print_facts(graph: Graph, lattice: Lattice) -> None:
    table = Table.grid(padding=(0, 2))
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in graph.opsets.items())
    rows = [
        ("model", f"{graph.name} ({opsets})"),
        ("ops", str(len(graph.ops))),
        ("weights", format_bytes(lattice.cuts[-1].weight_bytes_before)),
        ("work", f"{format_flops(graph.flops)} per request"),
        *(("input", _tensor(graph, name)) for name in graph.inputs),
        *(("output", _tensor(graph, name)) for name in graph.outputs),
        ("cuts", f"{len(lattice.cuts)}" + ("" if lattice.complete else " (a selection of more)")),
        ("hash", graph.hash[:16]),
    ]
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", escape(value))
    results.print(table)


def _tensor(graph: Graph, name: str) -> str:
    tensor = graph.tensors[name]
    shape = " x ".join("batch" if axis == tensor.batch_axis else str(size) for axis, size in enumerate(tensor.shape))
    return f"{name}: {tensor.dtype} {shape or 'scalar'}, {format_bytes(tensor.nbytes)}"


def _print_cuts(title: str, graph: Graph, lattice: Lattice, cuts: list[Cut]) -> None:
    place = {cut.before: index for index, cut in enumerate(lattice.cuts)}
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for header, justify in (("cut", "right"), ("where", "left"), ("FLOPs before", "right"), ("sends", "right")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    table.add_column("tensors", justify="right")
    for cut in cuts:
        share = cut.flops_before / max(graph.flops, 1)
        row = (
            str(place[cut.before]),
            escape(cut.label),
            f"{share:.1%}",
            format_bytes(cut.border_bytes),
            str(cut.width),
        )
        table.add_row(*row)
    results.print()
    results.print(table)
