"""Tables for the terminal: a profile, a plan, and a trial with predicted beside measured."""

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from cutwater.cut.lattice import build_lattice
from cutwater.graph.graph import Graph
from cutwater.lab.trial import Trial
from cutwater.plan.plan import HopScore, Plan
from cutwater.profile.predict import predict_error
from cutwater.profile.profile import Profile, Sample
from cutwater.report.table import filled, table
from cutwater.units import format_bytes, format_seconds


def plan_table(plan: Plan) -> Table:
    """Stages and hops of a plan in the order in which a request passes them."""
    title = f"Plan for {plan.objective}"
    made = table(title, "what", "where", "from", "to", "computes", "busy", "sends", "takes", "memory")
    for k, (stage, cost) in enumerate(zip(plan.stages, plan.score.stages, strict=True)):
        _add_hop(made, plan.score.hops[k])
        made.add_row(
            f"[bold]stage {k + 1}[/]",
            escape(", ".join(stage.nodes)),
            escape(stage.begin.label),
            escape(stage.end.label),
            format_seconds(cost.compute),
            format_seconds(cost.busy),
            "",
            "",
            format_bytes(cost.memory),
        )
    _add_hop(made, plan.score.hops[-1])
    return made


def _add_hop(made: Table, hop: HopScore) -> None:
    if hop.source != hop.target and hop.nbytes:
        ends = f"{hop.source} -> {hop.target}"
        made.add_row("hop", ends, hop.codec, "", "", "", format_bytes(hop.nbytes), format_seconds(hop.latency), "")


def plan_summary(plan: Plan) -> str:
    """One line: what the plan is predicted to do, and how far from optimal it can be."""
    among = "" if plan.complete else " among the cuts that were looked at"
    if plan.objective.startswith("throughput"):
        bound = f"no plan{among} exceeds {plan.bound:.4g}/s"
    else:
        bound = f"no plan{among} is faster than {format_seconds(plan.bound)}"
    optimal = "optimal" if plan.gap <= 1e-9 else f"at most {plan.gap:.2%} from optimal"
    latency = format_seconds(plan.score.latency)
    if plan.objective.startswith("latency@"):
        # The bound is about waiting in queues too, so what it bounds is shown beside the time alone.
        rate = plan.objective.removeprefix("latency@rate=")
        latency += f" alone and {format_seconds(plan.bound * (1 + plan.gap))} at {rate}/s"
    return (
        f"{plan.score.throughput:.4g} requests/s, latency {latency}, bottleneck {plan.score.bottleneck}; "
        f"{optimal} ({bound}; solver {plan.solver})"
    )


def comparison_table(plans: Mapping[str, Plan]) -> Table:
    """Plans beside each other, one row each."""
    made = table("Beside each other", "plan", "stages", "latency", "throughput", "bottleneck", "gap")
    for name, plan in plans.items():
        score = plan.score
        made.add_row(
            name,
            escape(" | ".join(f"{', '.join(stage.nodes)}: {stage.end.label}" for stage in plan.stages)),
            format_seconds(score.latency),
            f"{score.throughput:.4g}/s",
            score.bottleneck,
            f"{plan.gap:.2%}",
        )
    return made


STAGE_HEADERS = ("stage", "from", "to", "node", "predicted", "measured", "error", "busy", "wait", "in", "out")
HOP_HEADERS = ("hop", "codec", "predicted", "measured", "bytes predicted", "bytes measured")
WHOLE_HEADERS = ("pipeline", "predicted", "measured", "error")


def stage_rows(trial: Trial) -> list[Sequence[object]]:
    """What `STAGE_HEADERS` says, per stage."""
    return [
        (
            str(k + 1),
            stage.begin,
            stage.end,
            str(stage.node),
            format_seconds(stage.predicted),
            with_spread(stage.computed),
            f"{stage.predicted / stage.computed.median - 1:+.1%}",
            f"{stage.busy:.0%}",
            format_seconds(max(stage.wait, 0.0)),
            format_bytes(stage.received_bytes),
            format_bytes(stage.sent_bytes),
        )
        for k, stage in enumerate(trial.stages)
    ]


def hop_rows(trial: Trial) -> list[Sequence[object]]:
    """What `HOP_HEADERS` says, per hop that carries the request forwards."""
    return [
        (
            f"{hop.source} -> {hop.target}",
            hop.codec,
            format_seconds(hop.predicted),
            "" if hop.measured is None else format_seconds(hop.measured),
            format_bytes(hop.predicted_bytes),
            format_bytes(hop.nbytes),
        )
        for hop in trial.hops
        if hop.predicted_bytes
    ]


def whole_rows(trial: Trial) -> list[Sequence[object]]:
    """What `WHOLE_HEADERS` says: throughput and latency of the whole pipeline."""
    score = trial.plan.score
    error = f"{score.throughput / trial.throughput - 1:+.1%}" if trial.throughput else ""
    rows: list[Sequence[object]] = [
        ("throughput", f"{score.throughput:.4g}/s", f"{trial.throughput:.4g}/s", error),
    ]
    if trial.alone is not None:
        error = f"{score.latency / trial.alone.median - 1:+.1%}"
        rows.append(
            ("latency, one request alone", format_seconds(score.latency), with_spread(trial.alone), error),
        )
    loaded = " / ".join(format_seconds(q) for q in (trial.latency.p50, trial.latency.p90, trial.latency.p99))
    rows.append(("latency under load, p50 / p90 / p99", "", loaded, ""))
    return rows


def with_spread(sample: Sample) -> str:
    """The median and half the distance between the quartiles."""
    return f"{format_seconds(sample.median)} ± {format_seconds(sample.spread / 2)}"


def trial_tables(trial: Trial) -> list[Table]:
    """Predicted beside measured: the pipeline, its stages, its hops."""
    return [
        filled("Pipeline", WHOLE_HEADERS, whole_rows(trial)),
        filled("Stages, under load", STAGE_HEADERS, stage_rows(trial)),
        filled("Hops, one request at a time", HOP_HEADERS, hop_rows(trial)),
    ]


def profile_tables(profile: Profile, graph: Graph) -> list[Table]:
    """What was measured: the whole, the stages beside what their ops had predicted, the codecs at each border."""
    where = profile.conditions
    conditions = f"{where.device}; {where.threads} thread{'s' * (where.threads > 1)}, batch {where.batch}"
    whole = [
        ("device", conditions),
        ("whole model", with_spread(profile.whole)),
        ("with the other cores busy", f"{profile.contention:.3g} times as long"),
        ("each stage adds", format_seconds(profile.stage_overhead)),
        ("worker without a stage", format_bytes(profile.base_memory)),
        ("median error of predicted stage times", f"{predict_error(profile):.1%}"),
    ]
    tables = [filled(f"Profile of {profile.model}", ("", "measured"), whole)]
    labels = {f"{cut.before:x}": cut.label for cut in build_lattice(graph).cuts}
    stages = [
        (
            labels.get(stage.begin, stage.begin),
            labels.get(stage.end, stage.end),
            format_seconds(stage.predicted),
            with_spread(stage.seconds),
            f"{stage.predicted / stage.seconds.median - 1:+.1%}",
            format_bytes(stage.peak_memory),
        )
        for stage in profile.stages
    ]
    tables.append(filled("Stages", ("from", "to", "predicted", "measured", "error", "memory"), stages))
    borders = [
        (
            labels.get(border.cut, border.cut),
            border.codec,
            format_bytes(border.nbytes),
            format_seconds(border.encode),
            format_seconds(border.decode),
            f"{border.error:.2g}",
        )
        for border in profile.borders
    ]
    headers = ("border", "codec", "bytes", "encode", "decode", "error")
    return [*tables, *([filled("Codecs on real activations", headers, borders)] if borders else [])]
