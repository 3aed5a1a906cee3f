"""What Prometheus is told parses, and agrees with the requests that were observed."""

import asyncio
import random
from collections import Counter
from itertools import pairwise

import pytest
from endings import HOP, LATENCY, MS, QUEUE, answered, failed, get
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cutwater.api.finished import Finished
from cutwater.observe.metrics import Metrics, metrics_route
from cutwater.wire.message import Mark

OPENMETRICS = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"
APART = (0.0, 500.0, 500.0)


def scrape(metrics: Metrics, accept: str = "*/*") -> str:
    status, kind, body = asyncio.run(get(metrics_route(metrics), accept))
    assert status == 200
    assert kind.startswith("application/openmetrics-text" if accept == OPENMETRICS else "text/plain")
    return body.decode()


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(*requests: Finished) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    metrics = Metrics("gateway-1")
    for finished in requests:
        metrics.observe(finished)
    return values(scrape(metrics))


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_requests_are_counted_by_door_and_outcome() -> None:
    rng = random.Random(7)
    kinds = ["", "Refused", "DeadlineExceeded", "Withdrawn"]
    requests = [
        (answered() if not kind else failed(kind))._replace(
            model=rng.choice(["vit", "yolo"]), door=rng.choice(["http", "grpc", "native"])
        )
        for kind in rng.choices(kinds, k=200)
    ]
    wanted = Counter((each.model, each.door, each.fault or "answered") for each in requests)
    found = told(*requests)
    for (model, door, outcome), count in wanted.items():
        assert found[key("cutwater_requests_total", model=model, door=door, outcome=outcome)] == count
    assert sum(value for (name, _), value in found.items() if name == "cutwater_requests_total") == 200
    answers = [each for each in requests if each.model == "vit" and not each.fault]
    assert found[key("cutwater_request_seconds_count", model="vit")] == len(answers)
    assert found[key("cutwater_request_seconds_sum", model="vit")] == pytest.approx(len(answers) * LATENCY)
    assert found[key("cutwater_answer_bytes_total", model="vit")] == 8000 * len(answers)


def test_stages_show_their_times_and_batches() -> None:
    found = told(answered(batch=4), answered(APART))
    stage = {"model": "vit", "stage": "stage-2"}
    wanted = {"queue": 1, "decode": 1, "compute": 4, "encode": 1, "hold": 1}
    for part, ms in wanted.items():
        assert found[key(f"cutwater_stage_{part}_seconds_sum", **stage)] == pytest.approx(2 * ms * MS)
        assert found[key(f"cutwater_stage_{part}_seconds_count", **stage)] == 2
    assert found[key("cutwater_stage_batch_size_sum", **stage)] == 5
    assert found[key("cutwater_stage_batch_size_bucket", le="1.0", **stage)] == 1
    assert found[key("cutwater_stage_batch_size_bucket", le="4.0", **stage)] == 2
    assert found[key("cutwater_stage_compute_seconds_bucket", le="0.002", **stage)] == 0
    assert found[key("cutwater_stage_compute_seconds_bucket", le="0.005", **stage)] == 2
    assert found[key("cutwater_stage_compute_seconds_bucket", le="+Inf", **stage)] == 2


def test_single_hops_are_told_only_where_clocks_agree_but_their_sum_always() -> None:
    found = told(answered(), answered(APART))
    ends = ["gateway", "stage-1", "stage-2", "stage-3", "gateway"]
    for source, target in pairwise(ends):
        hop = {"model": "vit", "source": source, "target": target}
        assert found[key("cutwater_hop_seconds_count", **hop)] == 1
        assert found[key("cutwater_hop_seconds_sum", **hop)] == pytest.approx(HOP)
    assert found[key("cutwater_transfer_seconds_sum", model="vit")] == pytest.approx(2 * 4 * HOP)
    assert found[key("cutwater_hops_unclear_total", model="vit")] == 1
    assert found[key("cutwater_gateway_queue_seconds_sum", model="vit")] == pytest.approx(2 * QUEUE)


def test_bytes_of_hops_and_what_their_codec_saves() -> None:
    found = told(answered(), answered())
    first = {"model": "vit", "source": "gateway", "target": "stage-1"}
    last = {"model": "vit", "source": "stage-3", "target": "gateway"}
    assert found[key("cutwater_hop_bytes_total", **first)] == 2 * 1000
    assert found[key("cutwater_hop_plain_bytes_total", **first)] == 2 * 2000
    assert found[key("cutwater_hop_coded_bytes_total", **first)] == 2 * 1000
    assert found[key("cutwater_hop_bytes_total", **last)] == 2 * 4000
    assert found[key("cutwater_hop_plain_bytes_total", **last)] == 2 * 8000
    assert key("cutwater_hop_plain_bytes_total", model="vit", source="stage-1", target="stage-2") not in found


def test_openmetrics_says_the_same_as_the_text_format() -> None:
    metrics = Metrics("gateway-1")
    for finished in (answered(), answered(APART, model='a "model"\n'), failed()):
        metrics.observe(finished)
    by_text = {name: value for name, value in values(scrape(metrics)).items() if name[0].startswith("cutwater_")}
    by_openmetrics = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in openmetrics.text_string_to_metric_families(scrape(metrics, OPENMETRICS))  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name.startswith("cutwater_")
    }
    assert by_openmetrics == by_text
    assert len(by_text) > 100


def test_the_process_and_the_build_are_told_too() -> None:
    found = told()
    assert found[key("process_resident_memory_bytes")] > 2**20
    build = next(dict(labels) for name, labels in found if name == "cutwater_build_info")
    assert build["gateway"] == "gateway-1" and build["version"]


def test_a_worker_that_lies_spoils_no_sum() -> None:
    honest = answered()
    mark = honest.trail[0]
    endless = Mark(*(mark.stage, 1.0, float("inf"), float("inf"), 2.0), *(1, 1, 1), decode=0.0, encode=float("inf"))
    found = told(honest, honest._replace(trail=(endless,)))
    for part in ("queue", "compute", "hold"):
        total = found[key(f"cutwater_stage_{part}_seconds_sum", model="vit", stage="stage-1")]
        assert total == pytest.approx({"queue": MS, "compute": 4 * MS, "hold": MS}[part])


def test_names_that_workers_make_up_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutwater.observe.requests.MOST_STAGES", 8)
    metrics = Metrics("gateway-1")
    mark = answered().trail[0]
    for k in range(100):
        forged = Mark(f"stage-{k}", *(getattr(mark, field) for field in Mark.__struct_fields__[1:]))  # type: ignore[arg-type]
        metrics.observe(answered()._replace(trail=(forged,)))
    text = scrape(metrics)
    stages = {dict(labels).get("stage") for name, labels in values(text)} - {None}
    assert len(stages) == 8


def test_others_have_their_say_at_the_same_place() -> None:
    class Other(Collector):
        def collect(self) -> list[Metric]:
            family = CounterMetricFamily("cutwater_other", "Something else.")
            family.add_metric((), 3)
            return [family]

    metrics = Metrics("gateway-1")
    metrics.register(Other())
    metrics.count("cutwater_traces", "Traced requests.", "outcome", lambda: {"exported": 5, "dropped": 2})
    found = values(scrape(metrics))
    assert found[key("cutwater_other_total")] == 3
    assert found[key("cutwater_traces_total", outcome="dropped")] == 2
    with pytest.raises(ValueError, match="cutwater_other"):
        metrics.register(Other())
