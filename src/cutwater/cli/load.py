"""`cutwater load`: sends a workload to any endpoint, never slipping, and says what came of it and what is borne."""

import resource
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cutwater.cli.console import messages, print_json, results, write_file
from cutwater.cli.load_flags import (
    only_model,
    own_value,
    parse_inputs,
    parse_mlperf,
    parse_search,
    parse_shapes,
    parse_slos,
    parse_warmup,
    parse_work,
)
from cutwater.cli.load_view import LoadView
from cutwater.cli.options import Json, parse_timeout
from cutwater.client.access import Access
from cutwater.drivers.loop import run
from cutwater.errors import BadSetting
from cutwater.lab.load.conduct import LoadOptions, drive, load_once, search
from cutwater.lab.load.figures import count_load
from cutwater.lab.load.log import Log
from cutwater.lab.load.mlperf import MlperfOptions, Scenario
from cutwater.lab.load.payloads import PayloadOptions
from cutwater.lab.load.record import write_csv, write_trace
from cutwater.lab.load.search import SearchOptions, Try
from cutwater.lab.load.sender import SendOptions
from cutwater.lab.load.target import Endpoint
from cutwater.lab.load.work import Work, places_of, slos_of
from cutwater.report.load import (
    doubt_line,
    load_facts,
    load_tables,
    mlperf_table,
    punctuality_line,
    search_line,
    search_table,
    try_line,
)
from cutwater.report.load_picture import draw_load
from cutwater.units import Seconds

SPARE_FILES = 64
"""That are open besides connections."""
ONE_LINK = ("grpc", "unix:", "tcp:")
"""Addresses where one connection carries all requests."""
NONE: list[str] = []

Source = Annotated[
    Path | None, typer.Argument(help="A description (.yaml, .toml), or arrivals (.json, .csv).", show_default=False)
]
To = Annotated[
    str, typer.Option(help="http://, grpc://, unix: or tcp: address; default: this cluster's.", metavar="URL")
]
Rate = Annotated[str, typer.Option(help="Instead of a workload: requests per second, such as 200/s.")]
Variation = Annotated[float, typer.Option(help="With --rate: variation of the gaps; 0 is constant, 1 Poisson.")]
Models = Annotated[list[str], typer.Option("--model", "-m", help="With --rate: whom to ask; several share it.")]
For = Annotated[str, typer.Option("--for", help="How long requests come.", metavar="TIME")]
Warmup = Annotated[str, typer.Option(help="At the beginning, not counted; default: a tenth, 2 s at most.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Instead of the workload's.")]
Inputs = Annotated[
    list[str],
    typer.Option("--input", "-i", help="Picture, .npy, .npz or a folder; default: noise.", metavar="[MODEL=]PATH"),
]
Shapes = Annotated[list[str], typer.Option("--shape", help="Where sizes are open.", metavar="INPUT=1,3,224,224")]
Slos = Annotated[
    list[str], typer.Option("--slo", help="To answer in; goes before the workload's.", metavar="[MODEL=]TIME")
]
Timeout = Annotated[str, typer.Option(help="How long after it was due an answer is waited for.")]
Connections = Annotated[int, typer.Option(min=1, help="By HTTP, at most; who finds none free waits for one.")]
Token = Annotated[str, typer.Option(help="What the gateway wants to see; default: as this cluster's settings say.")]
FindRate = Annotated[str, typer.Option(help="Search the highest rate with so many in time: 99%.", metavar="SHARE")]
FindCv = Annotated[str, typer.Option(help="Search the highest burstiness with so many in time.", metavar="SHARE")]
Width = Annotated[str, typer.Option(help="How close a search comes.", metavar="SHARE")]
Repeats = Annotated[int, typer.Option(min=1, help="Seeds with which a search tries each factor, at most.")]
Mlperf = Annotated[
    Scenario | None, typer.Option("--mlperf", help="MLPerf's LoadGen drives; needs the extra `loadgen`.")
]
Csv = Annotated[Path | None, typer.Option(help="One line per request.", metavar="FILE")]
Trace = Annotated[Path | None, typer.Option(help="As lines of JSON, with the gateway's names.", metavar="FILE")]
Svg = Annotated[Path | None, typer.Option(help="Draw latency over time, and percentiles.", metavar="FILE")]


def load(
    workload: Source = None,
    to: To = "",
    rate: Rate = "",
    cv: Variation = 1.0,
    model: Models = NONE,
    for_: For = "",
    warmup: Warmup = "",
    seed: Seed = None,
    input: Inputs = NONE,
    shape: Shapes = NONE,
    slo: Slos = NONE,
    timeout: Timeout = "30 s",
    connections: Connections = 512,
    token: Token = "",
    find_rate: FindRate = "",
    find_cv: FindCv = "",
    width: Width = "5%",
    repeats: Repeats = 3,
    mlperf: Mlperf = None,
    csv: Csv = None,
    trace: Trace = None,
    svg: Svg = None,
    json: Json = False,
) -> None:
    """Send a workload to models when it is due, whatever becomes of it, and count what comes back.

    Latency counts from when a request was due. Ctrl-C ends early, with the report of what was sent.
    """
    given, wait = parse_slos(slo), parse_timeout(timeout)
    payloads = PayloadOptions(parse_inputs(input), parse_shapes(shape), seed or 0)
    endpoint = Endpoint(to, Access(token=token, connections=connections))
    _allow_files(connections)
    files = (csv, trace, svg)
    if mlperf is not None:
        if workload is not None or find_rate or find_cv or any(files):
            raise BadSetting("--mlperf: LoadGen makes its own load; a workload, searches and files do not go with it")
        options = LoadOptions(endpoint=endpoint, payloads=payloads, sending=SendOptions(timeout=wait))
        _drive(only_model(model), options, parse_mlperf(mlperf, for_, rate, given, seed, wait), json)
        return
    work = parse_work(workload, rate, model, cv, for_, seed)
    slos = slos_of(work, given)
    options = LoadOptions(
        endpoint=endpoint,
        payloads=payloads,
        sending=SendOptions(timeout=wait, patience=min(max(1.0, *slos.values(), 0.0), wait)),
        slos=slos,
        places=places_of(workload, work) if workload is not None else {},
        names=trace is not None,
    )
    skipped = parse_warmup(warmup, work.duration)
    if find_rate or find_cv:
        if (find_rate and find_cv) or any(files):
            raise BadSetting("a search is for the rate or the CV, and of its many loads none is written to a file")
        what, limits = parse_search(work, slos, find_rate, find_cv, width, repeats, skipped)
        _find(work, what, options, limits, json)
        return
    with LoadView() as view:
        log = run(load_once(work, options, view.begin))
    _tell(log, skipped, json)
    _tell_of_waiting(log, connections, to)
    _write(log, skipped, csv, trace, svg)


def _allow_files(connections: int) -> None:
    """Each connection is an open file, of which a shell lets a process have 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise BadSetting(f"--connections {connections}: this machine allows {hard:,} open files (`ulimit -Hn`)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tell(log: Log, skipped: Seconds, json: bool) -> None:
    report = count_load(log, skipped)
    if json:
        print_json(load_facts(report))
        return
    for each in load_tables(report):
        results.print(each)
        results.print()
    results.print(punctuality_line(report))
    results.print(doubt_line(), style="dim")


def _tell_of_waiting(log: Log, connections: int, to: str) -> None:
    if log.most_open > connections and not to.startswith(ONE_LINK):
        messages.print(
            f"up to {log.most_open:,} requests were open, over {connections:,} connections: some waited for one; "
            "see --connections"
        )


def _write(log: Log, skipped: Seconds, csv: Path | None, trace: Path | None, svg: Path | None) -> None:
    if csv is not None:
        write_csv(log, csv, skipped)
    if trace is not None:
        write_trace(log, trace, skipped)
    if svg is not None:
        write_file(svg, draw_load(log, skipped))
    for path in (csv, trace, svg):
        if path is not None:
            messages.print(f"written: {path}")


def _find(work: Work, what: str, options: LoadOptions, limits: SearchOptions, json: bool) -> None:
    scale = own_value(work, what)

    def tell(tried: Try) -> None:
        messages.print(try_line(tried, what, scale), markup=False, soft_wrap=True)

    with LoadView() as view:
        found = run(search(work, what, options, limits, view.begin, tell))
    if json:
        print_json({"what": what, "target": limits.target, "value": found.kept * scale, **load_facts(found)})
        return
    results.print(search_table(found, what, scale))
    results.print(f"\n{search_line(found, what, scale, limits.target)}")


def _drive(model: str, options: LoadOptions, wanted: MlperfOptions, json: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cutwater-loadgen-") as folder:
        report = run(drive(model, options, wanted, Path(folder)))
    if json:
        print_json(load_facts(report))
    else:
        results.print(mlperf_table(report))
    if not report.valid:
        raise typer.Exit(1)
