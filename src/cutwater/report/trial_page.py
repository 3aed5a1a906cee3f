"""The page about a trial: key figures, the cut model, the timeline of requests, predicted beside measured."""

from cutwater.cut.lattice import Lattice, chain_cuts
from cutwater.graph.graph import Graph
from cutwater.lab.trial import Trial
from cutwater.report.chain import draw_chain
from cutwater.report.page import Page
from cutwater.report.tables import (
    HOP_HEADERS,
    STAGE_HEADERS,
    WHOLE_HEADERS,
    hop_rows,
    plan_summary,
    stage_rows,
    whole_rows,
)
from cutwater.report.timeline import draw_timeline
from cutwater.services.workers.stages import plan_cuts
from cutwater.units import format_seconds


def trial_page(graph: Graph, lattice: Lattice, trial: Trial) -> Page:
    """A page to which the caller may add more, such as what the answers were."""
    plan = trial.plan
    places = [", ".join(stage.nodes) for stage in plan.stages]
    page = Page(f"{graph.name} in {len(plan.stages)} stages", plan_summary(plan))
    score = plan.score
    alone = trial.alone.median if trial.alone else float("nan")
    page.figures(
        [
            (f"{trial.throughput:.4g}/s", "throughput, measured", f"predicted {score.throughput:.4g}/s"),
            (format_seconds(alone), "latency of one request alone", f"predicted {format_seconds(score.latency)}"),
            (f"{trial.answered} of {trial.requests}", "requests answered", f"{len(trial.failures)} with an error"),
            (f"{plan.gap:.1%}", "gap to the bound", f"solver {plan.solver}"),
        ]
    )
    page.heading("Where the model is cut", "Blocks are as wide as their share of the work; point at one for details.")
    page.picture(draw_chain(graph, chain_cuts(lattice), plan_cuts(lattice, plan)[1:-1], places))
    explanation = (
        "Boxes compute. The line below them: requests that wait for their turn, the stronger the more of them."
    )
    page.heading("Requests on their way", explanation)
    rows = [f"{k + 1} {place}" for k, place in enumerate(places)]
    page.picture(draw_timeline(trial.trails, rows))
    page.heading("Predicted and measured")
    page.table(WHOLE_HEADERS, whole_rows(trial))
    page.table(STAGE_HEADERS, stage_rows(trial))
    page.table(HOP_HEADERS, hop_rows(trial))
    return page
