"""What Prometheus is told of a cluster is what its coordinator says, and all that dashboards and alerts ask for."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import promql_parser as promql
import pytest
import yaml
from endings import answered, failed, get
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.engine.facts.gateways import GatewayBeat, ModelTally, Note
from cutwater.engine.facts.nodes import Announcement, Hardware, MeasuredLink, NodeBeat, Phase, WorkerState
from cutwater.fabric.base import Message
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.observe.instruments import Instruments
from cutwater.observe.metrics import metrics_route
from cutwater.plan.plan import HopScore, Score, StageScore
from cutwater.services.asking import (
    ClusterStatus,
    DeploymentStatus,
    EpochStatus,
    GatewayStatus,
    NodeStatus,
    WorkerStatus,
)
from cutwater.services.facts import ASK_COORDINATOR, encode
from cutwater.services.front.collect import ClusterCollector
from cutwater.services.front.picture import Picture
from cutwater.settings.settings import ObserveSettings
from cutwater.units import GatewayId, NodeId, WorkerId

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "cutwater.json"
PAGE = ROOT / "docs" / "observability.md"
PI, PC = NodeId("pi-a"), NodeId("pc")
"""The first one lives, the second one is gone."""
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Metric and labels -> value."""


def node(name: NodeId, *, alive: bool) -> NodeStatus:
    hardware = Hardware(machine="Cortex-A76", cores=4, memory=2**30, speed=0.2)
    worker = WorkerState(
        worker=WorkerId("vit.3.0.0.0"), phase=Phase.READY, queued=2, busy=0.5, seconds=0.02, restarts=1
    )
    return NodeStatus(
        announcement=Announcement(
            node=name, incarnation="1", host=name, hardware=hardware, address="tcp:h:1", version="0.1"
        ),
        beat=NodeBeat(node=name, incarnation="1", cpu=0.75, memory=2**28, temperature=61.5, workers=(worker,)),
        age=0.2 if alive else 60.0,
        alive=alive,
        draining=False,
    )


def epoch(number: int, phase: EpochPhase) -> EpochStatus:
    stage = StageScore(node=PI, compute=0.01, encode=0, decode=0, transfer_cpu=0, memory=1)
    hop = HopScore(
        source=PI, target=PI, codec="int8", nbytes=1e4, back_bytes=500, latency=1e-3, back_latency=2e-3, occupied=0
    )
    back = msgspec.structs.replace(hop, nbytes=0.0, latency=0.0)
    score = Score(
        latency=0.03, throughput=80.0, bottleneck="node pi-a", stages=(stage,), hops=(hop, back), memory={}, traffic={}
    )
    worker = WorkerStatus(
        worker=WorkerId(f"vit.{number}.0.0.0"),
        chain=0,
        stage=0,
        begin="input",
        end="output",
        node=PI,
        spare=False,
        predicted=0.01,
        state=node(PI, alive=True).beat.workers[0] if phase is EpochPhase.LIVE else None,  # type: ignore[union-attr]
    )
    return EpochStatus(
        epoch=number, phase=phase, why="", throughput=80.0, latency=0.03, workers=(worker,), scores=(score,)
    )


STATUS = ClusterStatus(
    leader="coordinator-2",
    term=7,
    since="",
    nodes=(node(PI, alive=True), node(PC, alive=False)),
    gateways=(
        GatewayStatus(
            beat=GatewayBeat(gateway=GatewayId("gateway-1"), incarnation="1", node=PI, host="h", clients=""),
            age=0.1,
            alive=True,
        ),
    ),
    models=(),
    deployments=(
        DeploymentStatus(
            spec=DeploySpec(model="vit"),
            parked=False,
            removed=False,
            epochs=(epoch(3, EpochPhase.LIVE), epoch(4, EpochPhase.STARTING)),
            rate=25.0,
            p50=0.04,
            p99=0.09,
            problem="",
        ),
    ),
    links=(MeasuredLink(source=PI, target=PC, bandwidth=2.5e6, latency=8e-3, at=""),),
)
BEAT = GatewayBeat(
    gateway=GatewayId("gateway-1"),
    incarnation="1",
    node=PI,
    host="h",
    clients="",
    models=(
        ModelTally(
            model="vit", flying={3: 4, 2: 1}, queued=6, accepted=100, refused=3, retried=2, late=1, quarantined=1
        ),
    ),
    turned_away={"token": 9},
)


def page(accept: str = "*/*", *, coordinator: bool = True) -> str:
    """What a gateway tells that has seen something of everything."""

    async def story() -> str:
        async with MemoryFabric(MemoryServer()) as fabric:
            picture = Picture(fabric)
            if coordinator:

                async def say(message: Message) -> bytes:
                    return encode(STATUS)

                await fabric.serve(ASK_COORDINATOR, say)
                await picture.fresh()
            instruments = Instruments(ObserveSettings(), "gateway-1")
            collector = ClusterCollector(picture, lambda: BEAT, lambda: {"vit": 64})
            instruments.metrics.register(collector)
            for kind in ("lost", "lost", "replanned", "joined"):
                collector.note(Note(at="", kind=kind, about="pi-a", text=""))
            for observe in instruments.observers:
                observe(answered())
                observe(failed())
            (_, _, body) = await get(metrics_route(instruments.metrics), accept)
            return body.decode()

    return asyncio.run(story())


def scrape(*, coordinator: bool = True) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page(coordinator=coordinator))
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def values() -> Values:
    return scrape()


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


BACK = {"model": "vit", "chain": "0", "source": "stage-1", "target": "gateway", "codec": "int8"}
WORKER = {"model": "vit", "stage": "stage-1", "node": "pi-a", "worker": "vit.3.0.0.0"}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (key("cutwater_node_alive", node="pi-a"), 1),
        (key("cutwater_node_alive", node="pc"), 0),
        (key("cutwater_node_cpu_ratio", node="pi-a"), 0.75),
        (key("cutwater_node_temperature_celsius", node="pi-a"), 61.5),
        (key("cutwater_node_workers", node="pi-a", phase="ready"), 1),
        (key("cutwater_node_workers", node="pi-a", phase="backing-off"), 0),
        (key("cutwater_link_bytes_per_second", source="pi-a", target="pc"), 2.5e6),
        (key("cutwater_coordinator_term"), 7),
        (key("cutwater_coordinator_info", leader="coordinator-2"), 1),
        (key("cutwater_deployment_epoch", model="vit"), 3),
        (key("cutwater_deployment_predicted_seconds", model="vit"), 0.03),
        (key("cutwater_deployment_measured_seconds", model="vit", percentile="99"), 0.09),
        (key("cutwater_deployment_predicted_requests_per_second", model="vit"), 80),
        (key("cutwater_deployment_measured_requests_per_second", model="vit"), 25),
        (key("cutwater_worker_predicted_seconds", **WORKER), 0.01),
        (key("cutwater_worker_measured_seconds", **WORKER), 0.02),
        (key("cutwater_worker_restarts_total", **WORKER), 1),
        (key("cutwater_hop_predicted_bytes", **BACK), 500),
        (key("cutwater_hop_predicted_seconds", **BACK), 4e-3),
        (
            key(
                "cutwater_hop_predicted_bytes",
                model="vit",
                chain="0",
                source="gateway",
                target="stage-1",
                codec="int8",
            ),
            1e4,
        ),
        (key("cutwater_requests_queued", model="vit"), 6),
        (key("cutwater_requests_flying", model="vit"), 5),
        (key("cutwater_requests_window", model="vit"), 64),
        (key("cutwater_requests_retried_total", model="vit"), 2),
        (key("cutwater_answers_late_total", model="vit"), 1),
        (key("cutwater_requests_quarantined_total", model="vit"), 1),
        (key("cutwater_clients_turned_away_total", reason="token"), 9),
        (key("cutwater_events_total", kind="lost"), 2),
        (key("cutwater_events_total", kind="joined"), 1),
        (key("cutwater_events_total", kind="rolled-back"), 0),
    ],
)
def test_what_is_the_case_is_told(values: Values, said: tuple[str, frozenset[tuple[str, str]]], value: float) -> None:
    assert values[said] == value


def test_nobody_speaks_for_a_node_that_is_gone(values: Values) -> None:
    gone = {name for name, labels in values if ("node", "pc") in labels}
    assert gone == {
        *("cutwater_node_info", "cutwater_node_alive", "cutwater_node_draining"),
        *("cutwater_node_cores", "cutwater_node_memory_limit_bytes"),
    }


def test_a_worker_that_has_not_been_heard_of_has_a_prediction_only(values: Values) -> None:
    coming = {name for name, labels in values if ("worker", "vit.4.0.0.0") in labels}
    assert coming == {"cutwater_worker_predicted_seconds"}


def test_without_a_coordinator_the_gateway_tells_of_itself() -> None:
    found = scrape(coordinator=False)
    assert found[key("cutwater_coordinator_term")] == 0
    assert found[key("cutwater_requests_queued", model="vit")] == 6
    assert not any(name.startswith(("cutwater_node_", "cutwater_deployment_")) for name, _ in found)


def test_openmetrics_takes_it_all(values: Values) -> None:
    text = page("application/openmetrics-text; version=1.0.0")
    families = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert {name for name, _ in values} <= {sample.name for family in families for sample in family.samples}


# Dashboards and alerts


def queries_of_the_dashboard() -> list[str]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    found += [each["expr"] for each in board["annotations"]["list"]]
    listed = re.compile(r"label_values\((\w+), \w+\)")
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found.append(listed.fullmatch(variable["query"]["query"])[1])  # type: ignore[index]
    return found


def blocks_of_the_page() -> list[Any]:
    text = PAGE.read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def rules_of_the_page() -> list[dict[str, Any]]:
    return [
        rule
        for block in blocks_of_the_page()
        if "groups" in block
        for group in block["groups"]
        for rule in group["rules"]
    ]


def selectors(query: str) -> Iterator[Any]:
    """All that a query reads. Raises ValueError where it is no PromQL."""
    text = query.replace("$__rate_interval", "5m").replace("$model", ".*")
    yield from _within(promql.parse(text))


def _within(expression: Any) -> Iterator[Any]:
    if isinstance(expression, promql.VectorSelector):
        yield expression
    elif isinstance(expression, promql.MatrixSelector):
        yield expression.vector_selector
    for part in ("lhs", "rhs", "expr", "param"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from _within(inner)
    for argument in getattr(expression, "args", ()):
        yield from _within(argument)


def check(query: str, values: Values) -> None:
    """Every metric a query reads exists, with the labels by which it selects and groups."""
    read = list(selectors(query))
    assert read, query
    labels: set[str] = set()
    for selector in read:
        samples = [dict(found) for name, found in values if name == selector.name]
        assert samples, f"{selector.name} does not exist; read by {query}"
        labels |= {name for sample in samples for name in sample}
        for matcher in selector.matchers.matchers:
            assert matcher.name in {"job", "instance", *samples[0]}, f"{selector.name} has no {matcher.name}: {query}"
    for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        wanted = {name.strip() for name in group.split(",") if name.strip()}
        assert wanted <= {"job", "instance", *labels}, f"{wanted - labels} in {query}"


def test_all_that_the_dashboard_shows_exists(values: Values) -> None:
    queries = queries_of_the_dashboard()
    assert len(queries) > 50
    for query in queries:
        check(query, values)


def test_all_that_the_alerts_watch_exists(values: Values) -> None:
    rules = rules_of_the_page()
    assert len(rules) >= 8
    for rule in rules:
        check(rule["expr"], values)
        if "alert" in rule:
            assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")


def test_every_metric_that_is_told_is_explained_on_the_page(values: Values) -> None:
    text = PAGE.read_text(encoding="utf-8")
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name, _ in values if name.startswith("cutwater_")}
    assert families - set(re.findall(r"`(cutwater_\w+)`", text)) == set()


def test_the_panels_do_not_lie_over_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24 and (x, y) not in taken, f"{panel['title']} lies over {taken.get((x, y))}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)
