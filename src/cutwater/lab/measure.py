"""Measuring a model on this machine: its ops, its stages, and what a busy machine makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import msgspec

from cutwater.cut.cut import Cut
from cutwater.cut.lattice import best_cut_per_tenth, build_lattice
from cutwater.cut.split import extract
from cutwater.cut.stage import Stage
from cutwater.errors import BadShape
from cutwater.frameworks.base import EngineOptions, Session
from cutwater.graph.graph import Graph
from cutwater.lab.activations import Activations, ends
from cutwater.lab.borders import empty_run_seconds, measure_borders
from cutwater.lab.machine import measure_machine
from cutwater.lab.memory import peak_memory
from cutwater.lab.rest import measure_rest
from cutwater.lab.timing import (
    Feeds,
    MeasureOptions,
    busy_cores,
    faster,
    idle_memory,
    sample,
    time_in_turn,
    time_session,
    usable_cores,
)
from cutwater.profile.attribute import attribute
from cutwater.profile.predict import corrected, stage_seconds
from cutwater.profile.profile import Profile, Rest, Sample, StageSample

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the work that is done, 0 to 1."""

_COMPARISONS = 3
"""Of the model alone with the model beside busy cores."""
_PASSES = 2
"""Over stages measured for themselves, of which the quieter one counts."""
_STAGE_CUTS = 5
"""At so many of the cuts stages are measured for themselves; enough to put op times right, and a few seconds' work."""

Span = tuple[Cut, Cut]
"""A stage, as the cuts it lies between."""


@dataclass(frozen=True)
class OpTimes:
    """One model, op by op and as a whole."""

    ops: dict[str, Sample]
    whole: Sample
    overhead: float
    """Seconds of a run that belong to no op."""


@dataclass(frozen=True)
class StageTimes:
    """One stage, run for itself."""

    span: Span
    seconds: Sample
    peak_memory: int
    """Bytes of resident memory that loading and running it added."""
    rest: Rest = Rest()  # noqa: RUF009


def measure_ops(graph: Graph, feeds: Feeds, options: MeasureOptions = MeasureOptions()) -> OpTimes:  # noqa: B008
    """How long each op takes in a run of the whole model.

    The engine's profiler slows what it watches; op times are scaled so that they and the overhead add up to the
    median of unwatched runs. Times of fused ops are shared out by FLOPs (`cutwater.profile.attribute`).

    Raises:
        BadTensor: ``feeds`` are not what the model wants.
        BadShape: A batch of several is asked for and the model's is fixed.
    """
    stage, inputs = extract(graph, *ends(graph)), Activations(graph, feeds, options).at(ends(graph)[0])
    session = options.framework.load(stage.onnx, options.engine)
    whole = time_session(session, inputs, options)
    session.close()
    watched = options.framework.load(stage.onnx, EngineOptions(threads=options.threads, profile=True))
    rounds = time_session(watched, inputs, options).rounds
    nodes = {name: sample(took[-rounds:]) for name, took in watched.op_times().items()}
    watched.close()
    again = options.framework.load(stage.onnx, options.engine)
    whole = faster(whole, time_session(again, inputs, options))
    again.close()
    medians = attribute(graph, {name: each.median / options.batch for name, each in nodes.items()})
    spreads = attribute(graph, {name: each.spread / options.batch for name, each in nodes.items()})
    overhead = min(empty_run_seconds(options), 0.5 * whole.median)
    scale = (whole.median - overhead) / max(float(medians.sum()), 1e-9)
    ops = {
        op.name: Sample(float(medians[op.index]) * scale, float(spreads[op.index]) * scale, rounds) for op in graph.ops
    }
    return OpTimes(ops, whole, overhead)


def measure_stages(
    graph: Graph,
    spans: Sequence[Span],
    feeds: Feeds,
    options: MeasureOptions = MeasureOptions(),  # noqa: B008
    busy: bool = False,
    progress: Progress | None = None,
) -> list[StageTimes]:
    """How long stages take on real activations, each run for itself until warm.

    All stages are measured one after the other, and then once more; each keeps the quieter of its times.

    Args:
        graph: The model.
        spans: The stages.
        feeds: One request.
        options: How to measure.
        busy: Whether the other cores run the whole model meanwhile.
        progress: Told before each stage.

    Raises:
        BadCut: A span is no stage.
        BadTensor: ``feeds`` are not what the model wants.
    """
    if busy:
        work = extract(graph, *ends(graph)).onnx
        with busy_cores(work, Activations(graph, feeds, replace(options, batch=1)).at(ends(graph)[0]), options):
            return measure_stages(graph, spans, feeds, options, progress=progress)
    activations = Activations(graph, feeds, options)
    found: dict[int, StageTimes] = {}
    for turn in range(_PASSES * len(spans)):
        number = turn % len(spans)
        begin, end = spans[number]
        if progress:
            progress(f"stage from {begin.label} to {end.label}", turn / (_PASSES * len(spans)))
        times = _measure_stage(extract(graph, begin, end), activations.at(begin), options)
        if number in found:
            times = replace(times, seconds=faster(times.seconds, found[number].seconds))
        found[number] = times
    return [found[number] for number in range(len(spans))]


def measure_as_run(
    graph: Graph,
    spans: Sequence[Span],
    feeds: Feeds,
    options: MeasureOptions = MeasureOptions(),  # noqa: B008
) -> list[StageTimes]:
    """How long the stages of one plan take as they will run here: each request on an input that has just been written.

    A stage that has a core for itself finds its weights in the core's cache when the next request comes; where there
    are fewer cores than stages it finds what the others have left, so there the stages take turns. Arguments and
    errors are those of `measure_stages`.
    """
    activations = Activations(graph, feeds, options)
    sessions: list[Session] = []
    added: list[int] = []
    for begin, end in spans:
        with peak_memory() as peak:
            sessions.append(options.framework.load(extract(graph, begin, end).onnx, options.engine))
            sessions[-1].run(activations.at(begin))
        added.append(peak.added)
    inputs = [activations.at(begin) for begin, _ in spans]
    if len(spans) * options.threads > len(usable_cores()):
        samples = time_in_turn(sessions, inputs, options)
    else:
        samples = [time_in_turn([each], [given], options)[0] for each, given in zip(sessions, inputs, strict=True)]
    rests = [measure_rest(each, given, options) for each, given in zip(sessions, inputs, strict=True)]
    for session in sessions:
        session.close()
    return [StageTimes(*each) for each in zip(spans, samples, added, rests, strict=True)]


def measure_contention(graph: Graph, feeds: Feeds, options: MeasureOptions = MeasureOptions()) -> float:  # noqa: B008
    """Time of the whole model while the other cores run it too, divided by its time alone; at least 1.

    The two take turns, because what a machine shares with others makes it drift by more than the effect.
    """
    stage, inputs = extract(graph, *ends(graph)), Activations(graph, feeds, options).at(ends(graph)[0])
    session = options.framework.load(stage.onnx, options.engine)
    ratios: list[float] = []
    for _ in range(_COMPARISONS):
        [alone] = time_in_turn([session], [inputs], options)
        with busy_cores(stage.onnx, inputs, options) as companions:
            if not companions:
                break
            [together] = time_in_turn([session], [inputs], options)
        ratios.append(together.median / alone.median)
    session.close()
    return max(1.0, median(ratios)) if ratios else 1.0


def measure_profile(
    graph: Graph,
    requests: Sequence[Feeds],
    cuts: Sequence[Cut] | None = None,
    codecs: Sequence[str] = (),
    options: MeasureOptions = MeasureOptions(),  # noqa: B008
    progress: Progress = lambda what, share: None,
) -> Profile:
    """Everything about one model on this machine: ops, stages, borders, contention, memory.

    Args:
        graph: The model.
        requests: One or more typical requests; times are of the first, codec sizes and errors of all.
        cuts: Where stages and borders are measured; by default the best cut of each tenth of the FLOPs. The input's
            border is measured in any case: every plan brings it to its first stage.
        codecs: Codecs to measure at those cuts.
        options: How to measure.
        progress: Told what is being measured.

    Raises:
        BadTensor: ``requests`` are not what the model wants.
        BadShape: A batch of several is asked for and the model's is fixed.
    """
    if options.batch > 1 and not graph.batchable:
        raise BadShape(f"{graph.name} has a fixed batch; measure it with a batch of 1")
    if cuts is None:
        cuts = [cut for cut in best_cut_per_tenth(build_lattice(graph)) if cut is not None]
    feeds = requests[0]
    progress("ops", 0.0)
    times = measure_ops(graph, feeds, options)
    progress("contention", 0.1)
    contention = measure_contention(graph, feeds, options)
    profile = Profile(
        model=graph.name,
        model_hash=graph.hash,
        conditions=measure_machine(options),
        ops=times.ops,
        whole=times.whole,
        stage_overhead=times.overhead,
        contention=contention,
        base_memory=idle_memory(),
    )
    profile = refine(profile, graph, _spans(graph, cuts), feeds, options, lambda w, s: progress(w, 0.2 + 0.4 * s))
    crossed = [ends(graph)[0], *(cut for cut in cuts if cut.before)]
    borders = measure_borders(graph, crossed, codecs, requests, options, lambda w, s: progress(w, 0.6 + 0.4 * s))
    progress("done", 1.0)
    return msgspec.structs.replace(profile, borders=tuple(borders))


def refine(
    profile: Profile,
    graph: Graph,
    spans: Sequence[Span],
    feeds: Feeds,
    options: MeasureOptions = MeasureOptions(),  # noqa: B008
    progress: Progress | None = None,
    as_run: bool = False,
) -> Profile:
    """A profile that has learnt from stages measured for themselves or, where they form a plan, as they will run.

    What was measured before in the same way is kept, unless the same stage is measured again.
    """
    if as_run:
        measured = measure_as_run(graph, spans, feeds, options)
    else:
        measured = measure_stages(graph, spans, feeds, options, progress=progress)
    samples = [
        StageSample(
            begin=f"{begin.before:x}",
            end=f"{end.before:x}",
            seconds=times.seconds,
            predicted=stage_seconds(profile, graph, begin, end),
            peak_memory=times.peak_memory,
            rest=times.rest,
            as_run=as_run,
        )
        for times in measured
        for begin, end in [times.span]
    ]
    fresh = {(stage.begin, stage.end) for stage in samples}
    kept = [s for s in profile.stages if s.as_run == as_run and (s.begin, s.end) not in fresh]
    return corrected(profile, graph, [*kept, *samples])


def _measure_stage(stage: Stage, inputs: Feeds, options: MeasureOptions) -> StageTimes:
    with peak_memory() as peak:
        session = options.framework.load(stage.onnx, options.engine)
        seconds = time_session(session, inputs, options)
    session.close()
    return StageTimes((stage.begin, stage.end), seconds, peak.added)


def _spans(graph: Graph, cuts: Sequence[Cut]) -> list[Span]:
    """Everything before and everything after some of the cuts, evenly chosen."""
    first, last = ends(graph)
    inner = sorted((cut for cut in cuts if cut.before not in (first.before, last.before)), key=lambda c: c.flops_before)
    step = max(1, len(inner) / _STAGE_CUTS)
    chosen = [inner[int(step * (k + 0.5))] for k in range(min(_STAGE_CUTS, len(inner)))]
    return [span for cut in chosen for span in ((first, cut), (cut, last))]
