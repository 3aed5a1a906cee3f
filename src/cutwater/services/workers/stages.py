"""From a Plan to what it cuts: its Cuts in the lattice, and its Stages in the forms its codecs ask for."""

from cutwater.cut.cut import Cut
from cutwater.cut.lattice import Lattice
from cutwater.cut.split import split
from cutwater.cut.stage import Stage
from cutwater.errors import BadFile
from cutwater.plan.plan import Plan
from cutwater.wire.codecs.registry import get_codec


def plan_cuts(lattice: Lattice, plan: Plan) -> tuple[Cut, ...]:
    """The cuts of a plan, from input to output. Raises BadFile if the plan is for another model."""
    if plan.model_hash != lattice.graph.hash:
        raise BadFile(f"the plan was made for another model ({plan.model}); make a new one with `cutwater plan`")
    masks = [int(plan.stages[0].begin.before, 16), *(int(stage.end.before, 16) for stage in plan.stages)]
    missing = [mask for mask in masks if mask not in lattice.position]
    if missing:
        raise BadFile(f"the plan cuts {plan.model} where it cannot be cut; make a new one with `cutwater plan`")
    return tuple(lattice.cuts[lattice.position[mask]] for mask in masks)


def plan_stages(lattice: Lattice, plan: Plan) -> list[Stage]:
    """The stages of a plan, in the forms its codecs ask for. Raises BadFile, BadCut."""
    return split(lattice.graph, plan_cuts(lattice, plan), [get_codec(name).form for name in plan.codecs])
