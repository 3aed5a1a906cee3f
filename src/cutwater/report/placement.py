"""A placement of many models in tables: who runs what, what that is predicted to do, and what others would."""

from rich.table import Table

from cutwater.plan.many.files import ManyPlan, PlannedModel
from cutwater.report.table import filled
from cutwater.units import NodeId, Seconds, format_bytes, format_seconds


def placement_table(plan: ManyPlan) -> Table:
    """Per group and model one row."""
    rows = []
    for group in plan.groups:
        first = True
        for model in plan.models:
            for way in model.ways:
                if way.places == group:
                    where = [_places(group), _memory(plan, group)] if first else ["", ""]
                    cuts = ", ".join(way.cuts) or "whole"
                    works = " + ".join(map(format_seconds, way.seconds))
                    works += f", up to {way.batch} together" if way.batch > 1 else ""
                    rows.append([*where, model.name, cuts, works, format_seconds(way.latency)])
                    first = False
    return filled("Placement", ["nodes", "memory", "model", "cuts", "computes", "alone"], rows)


def _places(group: tuple[NodeId, ...]) -> str:
    return " > ".join(group)


def _memory(plan: ManyPlan, group: tuple[NodeId, ...]) -> str:
    return ", ".join(format_bytes(plan.memory[node]) for node in group)


def predicted_table(plan: ManyPlan) -> Table:
    """Per model what becomes of its requests, and of all."""
    rows = [_figures(model) for model in plan.models]
    every = plan.predicted
    share = f"{every.attainment:.2%}"
    rows.append(["all", "", "", f"{every.asked:,}", share, _seconds(every.p50), _seconds(every.p99)])
    return filled("Predicted", ["model", "SLO", "replicas", "requests", "in time", "p50", "p99"], rows)


def _figures(model: PlannedModel) -> list[str]:
    found = model.predicted
    share = f"{found.attainment:.2%}"
    slo, replicas = format_seconds(model.slo), str(len(model.ways))
    return [model.name, slo, replicas, f"{found.asked:,}", share, _seconds(found.p50), _seconds(found.p99)]


def _seconds(value: Seconds | None) -> str:
    return "-" if value is None else format_seconds(value)


def methods_table(plan: ManyPlan) -> Table:
    """What every method comes to, on the same arrivals."""
    rows = [[f"{plan.method} (this plan)", f"{plan.predicted.attainment:.2%}", _share(plan.simulated)]]
    for name, share in plan.baselines.items():
        rows.append([name, f"{share:.2%}", _share(plan.baselines_simulated.get(name))])
    return filled("On the same arrivals", ["method", "in time, predicted", "simulated"], rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def simulated_line(plan: ManyPlan) -> str:
    """Of how many requests is spoken."""
    if plan.simulated is None:
        return "not simulated"
    return f"simulated: by the engine in virtual time, over {plan.requests:,} of {plan.predicted.asked:,} requests"
