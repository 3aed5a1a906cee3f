"""Stages are predicted from ops, and ops learn from stages that were measured."""

import msgspec
import pytest

from cutwater.errors import BadFile
from cutwater.profile.predict import corrected, predict_error, prefix_seconds, stage_seconds
from cutwater.profile.profile import Sample, StageSample


def measured(begin, end, seconds, predicted=1.0):
    return StageSample(
        begin=f"{begin.before:x}",
        end=f"{end.before:x}",
        seconds=Sample(seconds, 0.0, 5),
        predicted=predicted,
        peak_memory=0,
    )


def op_seconds(profile):
    return [profile.ops[f"op{i}"].median for i in range(5)]


def test_a_stage_costs_its_ops_and_the_overhead(profile, graph, cut_at):
    assert stage_seconds(profile, graph, cut_at(1), cut_at(3)) == 2 + 4 + 0.5
    assert stage_seconds(profile, graph, cut_at(0), cut_at(5)) == profile.whole.median
    assert list(prefix_seconds(profile, graph, [cut_at(i) for i in (0, 1, 4, 5)])) == [0, 1, 15, 31]


def test_a_measured_stage_scales_its_ops_and_no_others(profile, graph, cut_at):
    better = corrected(profile, graph, [measured(cut_at(1), cut_at(3), 12.5)])
    assert op_seconds(better) == pytest.approx([1, 4, 8, 8, 16], rel=1e-5)
    assert better.ops["op1"].spread == pytest.approx(0.4, rel=1e-5)
    assert len(better.stages) == 1


def test_overlapping_stages_that_agree_are_all_met(profile, graph, cut_at):
    stages = [measured(cut_at(0), cut_at(3), 10.5), measured(cut_at(2), cut_at(5), 40.5)]
    better = corrected(profile, graph, stages)
    for stage, ends in zip(stages, [(0, 3), (2, 5)], strict=True):
        predicted = stage_seconds(better, graph, *map(cut_at, ends))
        assert predicted == pytest.approx(stage.seconds.median, rel=1e-4)


def test_stages_that_contradict_each_other_meet_in_between_and_times_stay_positive(profile, graph, cut_at):
    stages = [measured(cut_at(1), cut_at(2), 3.5), measured(cut_at(1), cut_at(2), 0.001)]
    better = corrected(profile, graph, stages)
    assert 0 < better.ops["op1"].median < 3
    assert op_seconds(better)[2:] == [4, 8, 16]


def test_a_stage_without_ops_teaches_nothing(profile, graph, cut_at):
    better = corrected(profile, graph, [measured(cut_at(2), cut_at(2), 3.0)])
    assert op_seconds(better) == op_seconds(profile)


def test_the_error_of_prediction_is_the_median_over_stages(profile, cut_at):
    assert predict_error(profile) is None
    stages = tuple(measured(cut_at(0), cut_at(1), 10.0, predicted) for predicted in (9.0, 10.2, 13.0))
    assert predict_error(msgspec.structs.replace(profile, stages=stages)) == pytest.approx(0.1)


def test_a_profile_of_another_model_is_refused(profile, graph, cut_at):
    other = msgspec.structs.replace(profile, model_hash="another")
    with pytest.raises(BadFile, match="measure again"):
        stage_seconds(other, graph, cut_at(0), cut_at(1))
