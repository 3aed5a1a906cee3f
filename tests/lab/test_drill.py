"""What a drill does and when, and how its verdict follows from what was seen."""

from random import Random

import msgspec
import pytest

from cutwater.drivers.faults import Hang, Kill, What
from cutwater.lab.drill import HABITS, Findings, Injected, Kind, Moment, Verdict, judge, most_in_a_minute, schedule
from cutwater.lab.load.checked import Attempt
from cutwater.lab.load.recovery import recovery
from cutwater.lab.load.result import Result


def steady(seconds: float = 60.0, latency: float = 0.04, rate: float = 20.0) -> list[Attempt]:
    """Requests at equal distances, each answered after the same time."""
    return [Attempt(k / rate, k / rate + latency, Result.ANSWERED) for k in range(int(seconds * rate))]


def interrupted(since: float, until: float, attempts: list[Attempt]) -> list[Attempt]:
    """Answers that fell into a gap come at its end."""
    return [msgspec.structs.replace(a, ended=until) if since <= a.ended < until else a for a in attempts]


def killed(at: float, noticed: float | None = 0.02, happened: bool = True) -> Injected:
    return Injected(
        fault=Kill(at=at, what=What.WORKER),
        moment=Moment.SERVING,
        at=at,
        victim="cats.1.0.0.0",
        happened=happened,
        noticed=noticed,
    )


def seen(**changes: object) -> Findings:
    """A drill in which one worker was killed and nothing came of it."""
    attempts = steady()
    found = Findings(
        kind=Kind.KILL_STAGE,
        duration=60.0,
        attempts=attempts,
        sent=len(attempts),
        repeated=0,
        unanswered=0,
        late=0,
        retried=1,
        faults=[killed(20.0)],
        switches=[],
        strangers=[],
    )
    return msgspec.structs.replace(found, **changes)


def broken(verdict: Verdict) -> list[str]:
    return [each.name for each in verdict.criteria if not each.held]


class TestSchedule:
    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.NONE])
    def test_the_seed_decides_everything(self, kind: Kind) -> None:
        once = schedule(kind, HABITS[kind].every, 600.0, Random(7))
        assert once == schedule(kind, HABITS[kind].every, 600.0, Random(7))
        assert once != schedule(kind, HABITS[kind].every, 600.0, Random(8))

    def test_ten_minutes_of_a_kill_every_twenty_seconds(self) -> None:
        planned = schedule(Kind.KILL_STAGE, 20.0, 600.0, Random(0))
        assert len(planned) == 29
        assert all(each.fault == Kill(at=each.at, what=What.WORKER) for each in planned)
        assert all(abs(each.at - (20.0 * k + 10.0)) <= 2.0 for k, each in enumerate(planned))

    def test_a_hung_worker_goes_on_after_fifteen_seconds_and_before_the_end(self) -> None:
        planned = schedule(Kind.HANG, 30.0, 180.0, Random(0))
        assert {type(each.fault) for each in planned} == {Hang}
        assert all(each.at + 15.0 < 180.0 for each in planned)

    def test_workers_are_killed_at_every_moment_of_their_lives(self) -> None:
        planned = schedule(Kind.KILL_LOADING, 20.0, 120.0, Random(0))
        assert {each.moment for each in planned} == set(Moment) - {Moment.SERVING}

    def test_where_nothing_goes_wrong_there_is_nothing(self) -> None:
        assert schedule(Kind.NONE, 10.0, 600.0, Random(0)) == []


class TestVerdict:
    def test_a_promise_that_was_kept(self) -> None:
        verdict = judge(seen())
        assert verdict.held, broken(verdict)
        assert (verdict.attempts, verdict.answered, verdict.happened) == (1200, 1200, 1)
        assert (verdict.detect.median, verdict.recover.most) == (0.02, 0.0)

    @pytest.mark.parametrize(
        ("changes", "criterion"),
        [
            ({"sent": 1201}, "lost"),
            ({"unanswered": 1}, "lost"),
            ({"repeated": 1}, "duplicated"),
            ({"strangers": ["gateway has ended"]}, "unexpected"),
            ({"faults": [killed(20.0, happened=False)]}, "faults happened"),
            ({"faults": []}, "faults happened"),
            ({"faults": [killed(20.0, noticed=3.5)]}, "detected"),
            ({"faults": [killed(20.0, noticed=None)]}, "detected"),
        ],
    )
    def test_each_promise_can_be_broken(self, changes: dict[str, object], criterion: str) -> None:
        assert criterion in broken(judge(seen(**changes)))

    @pytest.mark.parametrize(
        ("result", "kind", "criterion"),
        [(Result.LOST, "LinkLost", "lost"), (Result.WRONG, "", "wrong"), (Result.FAILED, "FrameError", "unexpected")],
    )
    def test_one_request_is_enough_to_break_it(self, result: Result, kind: str, criterion: str) -> None:
        attempts = [*steady()[:-1], Attempt(59.0, 59.5, result, kind)]
        assert criterion in broken(judge(seen(attempts=attempts)))

    def test_one_error_in_a_thousand_is_allowed_and_two_are_not(self) -> None:
        error = Attempt(59.0, 59.5, Result.FAILED, "DeadlineExceeded")
        assert judge(seen(attempts=[*steady()[:-1], error])).held
        assert broken(judge(seen(attempts=[*steady()[:-2], error, error]))) == ["answered without error"]

    def test_what_was_refused_was_never_accepted(self) -> None:
        verdict = judge(seen(attempts=[*steady()[:-1], Attempt(59.0, 59.0, Result.REFUSED, "Refused")]))
        assert verdict.held
        assert (verdict.accepted, verdict.refused) == (1199, 1)

    def test_answers_by_the_gateway_itself_count_and_are_counted(self) -> None:
        verdict = judge(seen(attempts=[*steady()[:-1], Attempt(59.0, 59.1, Result.DEGRADED)]))
        assert verdict.held
        assert (verdict.answered, verdict.degraded) == (1200, 1)

    def test_throughput_that_takes_too_long_to_come_back(self) -> None:
        assert broken(judge(seen(attempts=interrupted(20.0, 31.0, steady())))) == ["throughput back"]

    def test_a_slow_node_may_cause_one_new_plan_a_minute(self) -> None:
        faults = [killed(20.0, noticed=12.0)]
        assert judge(seen(kind=Kind.SLOW, faults=faults, switches=[32.0])).held
        assert broken(judge(seen(kind=Kind.SLOW, faults=faults, switches=[32.0, 50.0]))) == ["re-plans in any minute"]

    def test_the_busiest_minute(self) -> None:
        assert most_in_a_minute([0.0, 59.0, 61.0, 100.0, 118.0]) == 4
        assert most_in_a_minute([]) == 0


class TestRecovery:
    def test_nothing_piled_up(self) -> None:
        assert recovery(steady(), 20.0, 60.0) == (0.0, 0.0)

    def test_a_gap_that_is_made_good_at_once(self) -> None:
        found = recovery(interrupted(20.0, 23.5, steady()), 20.0, 60.0)
        assert found.backlog == pytest.approx(3.5)
        assert found.throughput == pytest.approx(3.5, abs=0.1)

    def test_throughput_is_back_before_the_backlog_is_done(self) -> None:
        """Nothing is answered for three seconds, and then a quarter faster than requests come."""
        behind = [
            a if a.ended < 20.0 else msgspec.structs.replace(a, ended=23.0 + 0.8 * (a.due - 20.0)) for a in steady()
        ]
        attempts = [msgspec.structs.replace(a, ended=max(a.ended, a.due + 0.04)) for a in behind]
        found = recovery(attempts, 20.0, 60.0)
        assert found.throughput == pytest.approx(3.0, abs=0.1)
        assert found.backlog == pytest.approx(14.8, abs=0.3)

    def test_a_gap_that_opens_again_at_once_is_one(self) -> None:
        attempts = interrupted(23.6, 25.0, interrupted(20.0, 23.5, steady()))
        assert recovery(attempts, 20.0, 60.0).backlog == pytest.approx(5.0)

    def test_a_gap_long_after_the_fault_has_another_reason(self) -> None:
        assert recovery(interrupted(40.0, 45.0, steady()), 20.0, 60.0) == (0.0, 0.0)

    def test_it_was_not_over_when_the_next_fault_came(self) -> None:
        assert recovery(interrupted(20.0, 33.0, steady()), 20.0, 30.0) == (None, None)
