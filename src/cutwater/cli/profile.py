"""`cutwater profile`: measures a model on this machine and writes down what it costs."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import messages, print_json, progress, results
from cutwater.cli.options import Batch, Codecs, Cuts, InputSpecs, Json, Model, Sizes, Threads, parse_codecs, parse_sizes
from cutwater.cut.lattice import build_lattice, find_cut
from cutwater.frameworks.open import open_graph
from cutwater.lab.hops import measure_hops
from cutwater.lab.inputs import good_feeds, open_inputs
from cutwater.lab.measure import measure_profile
from cutwater.lab.profiles import with_hops
from cutwater.lab.timing import MeasureOptions
from cutwater.profile.files import save_profile
from cutwater.report.tables import profile_tables


def profile(
    model: Model,
    inputs: InputSpecs = ["synthetic:3"],  # noqa: B006
    size: Sizes = [],  # noqa: B006
    cut: Cuts = [],  # noqa: B006
    codec: Codecs = [],  # noqa: B006
    threads: Threads = 1,
    batch: Batch = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the profile here (YAML).")] = None,
    json: Json = False,
) -> None:
    """Measure op times, stage times at some cuts, codecs on real activations and memory, on this machine."""
    graph = open_graph(model, parse_sizes(size))
    cuts = [find_cut(build_lattice(graph), text) for text in cut] or None
    options = MeasureOptions(threads=threads, batch=batch)
    requests = good_feeds(open_inputs(inputs, [graph.tensors[name] for name in graph.inputs]), 3)
    with progress("measuring") as report:
        found = with_hops(measure_profile(graph, requests, cuts, parse_codecs(codec), options, report), measure_hops())
    if out is not None:
        save_profile(found, out)
        messages.print(f"written: {out}")
    if json:
        print_json(msgspec.to_builtins(found))
        return
    for made in profile_tables(found, graph):
        results.print()
        results.print(made)
