"""What `cutwater status` shows of a cluster in trouble."""

import io

from rich.console import Console

from cutwater.engine.facts.deployments import DeploySpec
from cutwater.report.cluster import overview_parts
from cutwater.services.asking import ClusterStatus, DeploymentStatus
from cutwater.services.cluster.overview import Overview


def shown(problem: str) -> list[str]:
    deployment = DeploymentStatus(
        spec=DeploySpec(model="cats"),
        parked=False,
        removed=False,
        epochs=(),
        rate=0.0,
        p50=0.0,
        p99=0.0,
        problem=problem,
    )
    cluster = ClusterStatus(
        leader="coordinator-1", term=1, since="", nodes=(), gateways=(), models=(), deployments=(deployment,), links=()
    )
    console = Console(file=io.StringIO(), width=160)
    for part in overview_parts(Overview(home="/home", processes={}, cluster=cluster)):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_trouble_has_a_line_of_its_own_beneath_the_deployments() -> None:
    problem = "of the nodes it may run on (pi-a, pi-b), none can be used now; known are pi-c"
    lines = shown(problem)
    assert f"cats: {problem}" in lines
    title = next(number for number, line in enumerate(lines) if line.startswith("Deployments"))
    assert lines.index(f"cats: {problem}") > title


def test_without_trouble_there_is_no_such_line() -> None:
    assert not any(line.startswith("cats:") for line in shown(""))
