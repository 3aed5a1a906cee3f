"""From a placement of many models to the deployments that a cluster is asked for."""

from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import NoPlan
from cutwater.plan.many.files import ManyPlan, PlannedModel


def to_specs(many: ManyPlan) -> list[DeploySpec]:
    """One deployment for each model that anybody serves, its SLO as its timeout.

    All chains of a deployment are cut alike. Of one chain every stage has its place; where a model has several, its
    nodes are said, and which of them make a chain together is the coordinator's (`left_open`).

    Raises:
        NoPlan: A model's pipelines are not alike.
    """
    return [_spec(model) for model in many.models if model.ways]


def _spec(model: PlannedModel) -> DeploySpec:
    first = model.ways[0]
    if any((way.cuts, way.batch) != (first.cuts, first.batch) for way in model.ways):
        raise NoPlan(
            f"{model.name} was planned to run in different ways at once, cut or in batches, which no deployment can; "
            "plan again, with replicas that are alike"
        )
    alone = len(model.ways) == 1
    return DeploySpec(
        model=model.name,
        stages=len(first.cuts) + 1,
        nodes=tuple(node for way in model.ways for node in way.places),
        cuts=first.cuts,
        places=first.places if alone else (),
        chains=len(model.ways),
        fallback=False,
        timeout=model.slo,
        batch=first.batch,
    )


def left_open(many: ManyPlan) -> list[str]:
    """Models whose nodes the coordinator may put together otherwise than was planned."""
    return [model.name for model in many.models if len(model.ways) > 1 and model.ways[0].cuts]
