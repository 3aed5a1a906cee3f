"""A plan in virtual time does what arithmetic and queueing theory say it does."""

from itertools import takewhile
from random import Random

import pytest
from sim_plans import chain_plan

from cutwater.drivers.sim.pipeline import PipelineOptions, SimPipeline
from cutwater.drivers.sim.plan_faults import parse_fault, suffer
from cutwater.drivers.sim.workload import bursty, constant, parse_arrivals, poisson
from cutwater.drivers.sim.world import WorldOptions
from cutwater.engine.gateway.admission import Admission
from cutwater.errors import BadQuantity, InputError
from cutwater.profile.profile import Conditions, Profile, Rest, Sample, StageSample


def run(plan, moments, **options):
    pipeline = SimPipeline(plan, options=PipelineOptions(world=WorldOptions(validate_every=0.05), **options))
    pipeline.offer(moments)
    pipeline.world.settle(pipeline.world.clock.now + 3600.0)
    return pipeline


def test_one_request_alone_takes_what_the_plan_predicts():
    plan = chain_plan((8e-3, 9e-3, 7e-3))
    (asking,) = run(plan, [1.0]).world.askings
    # The score counts no processor time of frames: twelve ends of frames at 50 us, and the headers' few bytes.
    assert asking.latency == pytest.approx(plan.score.latency + 12 * 50e-6, abs=50e-6)


def test_a_full_pipeline_answers_at_the_pace_of_its_slowest_stage():
    figures = run(chain_plan((8e-3, 10e-3, 7e-3)), [0.0] * 300).world.figures()
    assert figures.answered == 300
    assert figures.throughput == pytest.approx(100.0, rel=0.03)


@pytest.mark.slow
def test_waiting_is_what_queueing_theory_says():
    # One stage, constant service, Poisson arrivals at 70 %: M/D/1 waits rho / (2 (1 - rho)) of a service on average.
    plan = chain_plan((10e-3,), nbytes=0, latency=0)
    moments = takewhile(lambda at: at < 300.0, poisson(70.0, Random(3)))
    askings = run(plan, moments, admission=Admission(window=10**6, queue=10**6), credits=10**6).world.askings
    alone = 10e-3 + 4 * 50e-6
    waited = sum(asking.latency for asking in askings) / len(askings) - alone
    assert waited == pytest.approx(10e-3 * 0.7 / (2 * 0.3), rel=0.1)


def test_the_same_seed_gives_the_same_run():
    def latencies(seed: int) -> list[float]:
        moments = takewhile(lambda at: at < 3.0, poisson(60.0, Random(seed)))
        return [asking.latency for asking in run(chain_plan((8e-3, 9e-3)), moments).world.askings]

    assert latencies(1) == latencies(1)
    assert latencies(1) != latencies(2)


def test_bursts_have_the_variation_that_was_asked_for():
    moments = [at for at, _ in zip(bursty(4.0)(100.0, Random(1)), range(200_000), strict=False)]
    gaps = [after - before for before, after in zip([0.0, *moments], moments, strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.01, rel=0.05)
    assert deviation / mean == pytest.approx(4.0, rel=0.1)


def test_arrivals_are_named_as_people_name_them():
    assert parse_arrivals("poisson") is poisson and parse_arrivals("constant") is constant
    assert next(constant(4.0, Random(0))) == 0.25
    for wrong in ("often", "cv=0.5", "cv=x"):
        with pytest.raises(BadQuantity, match="poisson, constant"):
            parse_arrivals(wrong)


def test_a_hang_of_a_plans_only_worker_delays_its_requests_and_loses_none():
    pipeline = SimPipeline(chain_plan((8e-3, 9e-3)), options=PipelineOptions(world=WorldOptions(validate_every=0.05)))
    pipeline.offer([0.1 * number for number in range(40)])
    suffer(pipeline, [parse_fault("hang n2 at 1 s for 5 s")])
    pipeline.world.settle(100.0)
    figures = pipeline.world.figures()
    assert (figures.answered, figures.lost, figures.errors) == (40, 0, {})
    assert figures.retried > 0 and figures.worst > 4.0


def test_faults_that_cannot_be_read_or_have_no_victim_are_refused():
    for wrong in ("kill", "slow n1 at 1 s for 2 s", "hang n1 at 1 s", "burn n1 at 1 s"):
        with pytest.raises(InputError, match="is no fault"):
            parse_fault(wrong)
    with pytest.raises(InputError, match="does not use the node 'n9'"):
        suffer(SimPipeline(chain_plan((8e-3,))), [parse_fault("kill n9 at 1 s")])


def test_a_stage_that_has_rested_takes_longer_by_what_its_pause_costs():
    def latencies(rest: Rest) -> list[float]:
        plan = chain_plan((10e-3,))
        stage = StageSample(
            begin="0", end="1", seconds=Sample(10e-3, 0.0, 9), predicted=10e-3, peak_memory=0, rest=rest
        )
        profile = Profile(
            model="net",
            model_hash="0",
            conditions=Conditions(
                device="made up", cores=4, threads=1, batch=1, busy_cores=0, versions={}, measured_at=""
            ),
            ops={},
            whole=Sample(10e-3, 0.0, 9),
            stage_overhead=0.0,
            contention=1.0,
            stages=(stage,),
        )
        pipeline = SimPipeline(plan, profile=profile)
        now = pipeline.world.clock.now
        pipeline.offer([0.0, 5.0, 5.001])
        pipeline.world.settle(now + 60.0)
        return [asking.latency for asking in pipeline.world.askings]

    cold, warm = latencies(Rest(2e-3, 5e-3)), latencies(Rest())
    # The one that comes while another computes finds everything warm; it only waits for that one, which does not.
    assert [a - b for a, b in zip(cold, warm, strict=True)] == pytest.approx([2e-3, 2e-3, 2e-3], abs=1e-6)
