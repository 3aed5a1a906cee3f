"""From a placement of many models to the deployments that a cluster is asked for."""

from cutwater.engine.facts.deployments import DeploySpec
from cutwater.errors import NoPlan
from cutwater.plan.many.files import ManyPlan, PlannedModel


def to_specs(many: ManyPlan) -> list[DeploySpec]:
    """One deployment for each model that anybody serves, its SLO as its timeout.

    All chains of a deployment are cut alike. Of one chain every stage has its place; where a model has several, its
    nodes are said, and which of them make a chain together is the coordinator's (`left_open`).

    Raises:
        NoPlan: A model's pipelines are cut differently, or its requests were planned to be taken in batches.
    """
    return [_spec(model) for model in many.models if model.ways]


def _spec(model: PlannedModel) -> DeploySpec:
    cuts = model.ways[0].cuts
    if any(way.cuts != cuts for way in model.ways):
        raise NoPlan(
            f"{model.name} was planned to run cut in different ways at once, which no deployment can; "
            "plan again, with replicas that are alike"
        )
    if any(way.batch > 1 for way in model.ways):
        raise NoPlan(f"{model.name} was planned with batches; a cluster's workers take one request at a time")
    alone = len(model.ways) == 1
    return DeploySpec(
        model=model.name,
        stages=len(cuts) + 1,
        nodes=tuple(node for way in model.ways for node in way.places),
        cuts=cuts,
        places=model.ways[0].places if alone else (),
        chains=len(model.ways),
        fallback=False,
        timeout=model.slo,
    )


def left_open(many: ManyPlan) -> list[str]:
    """Models whose nodes the coordinator may put together otherwise than was planned."""
    return [model.name for model in many.models if len(model.ways) > 1 and model.ways[0].cuts]
