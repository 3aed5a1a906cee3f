"""Lives as tables: which state follows which step, for a request in a stage, for a flight in the gateway, for trust.

Everything that changes such a state goes through `step`; a step a table does not allow is a bug of this program.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class Work(StrEnum):
    """Where a request is in a stage worker."""

    QUEUED = "queued"
    """Its tensors are here; it waits for the stage."""
    COMPUTING = "computing"
    READY = "ready"
    """Computed; waits until the next link is open and has credit."""
    AWAY = "away"
    """Handed on; its answer will come back this way."""
    ABANDONED = "abandoned"
    """Nobody waits for it any more, but it is in the stage and cannot be taken out."""
    GONE = "gone"


class WorkStep(StrEnum):
    """What can happen to it."""

    PICK = "pick"
    """Made part of a batch."""
    UNPICK = "unpick"
    """Its batch failed as a whole; it is tried alone."""
    FINISH = "finish"
    HAND_ON = "hand-on"
    REPLY = "reply"
    """Answered, with a result or an error."""
    DROP = "drop"
    """Nobody waits for it any more."""


WORK_LIFE: Mapping[Work, Mapping[WorkStep, Work]] = {
    Work.QUEUED: {WorkStep.PICK: Work.COMPUTING, WorkStep.REPLY: Work.GONE, WorkStep.DROP: Work.GONE},
    Work.COMPUTING: {
        WorkStep.FINISH: Work.READY,
        WorkStep.UNPICK: Work.QUEUED,
        WorkStep.REPLY: Work.GONE,
        WorkStep.DROP: Work.ABANDONED,
    },
    Work.READY: {WorkStep.HAND_ON: Work.AWAY, WorkStep.REPLY: Work.GONE, WorkStep.DROP: Work.GONE},
    Work.AWAY: {WorkStep.REPLY: Work.GONE, WorkStep.DROP: Work.GONE},
    Work.ABANDONED: {WorkStep.FINISH: Work.GONE, WorkStep.UNPICK: Work.GONE},
    Work.GONE: {},
}


class Flight(StrEnum):
    """Where a request is for the gateway, from the door to its one answer."""

    QUEUED = "queued"
    """Accepted; waits for room in the window and credit on a link."""
    FLYING = "flying"
    ANSWERED = "answered"
    FAILED = "failed"


class FlightStep(StrEnum):
    """What can happen to it."""

    LAUNCH = "launch"
    RETRY = "retry"
    """Its attempt ended without an answer that counts; the next one waits for its turn."""
    ANSWER = "answer"
    FAIL = "fail"


FLIGHT_LIFE: Mapping[Flight, Mapping[FlightStep, Flight]] = {
    Flight.QUEUED: {FlightStep.LAUNCH: Flight.FLYING, FlightStep.FAIL: Flight.FAILED},
    Flight.FLYING: {
        FlightStep.ANSWER: Flight.ANSWERED,
        FlightStep.RETRY: Flight.QUEUED,
        FlightStep.FAIL: Flight.FAILED,
    },
    Flight.ANSWERED: {},
    Flight.FAILED: {},
}


class Trust(StrEnum):
    """What the gateway thinks of a worker on its routes."""

    TRUSTED = "trusted"
    BENCHED = "benched"
    """Lost, or it refused: no request goes there for a while."""
    TRIAL = "trial"
    """One request at a time, until one is answered."""


class TrustStep(StrEnum):
    """What can happen to it."""

    LOSE = "lose"
    """A request that went there is lost, or was refused."""
    TRY = "try"
    """It was long enough on the bench, or can be reached again."""
    ANSWER = "answer"


TRUST_LIFE: Mapping[Trust, Mapping[TrustStep, Trust]] = {
    Trust.TRUSTED: {TrustStep.LOSE: Trust.BENCHED, TrustStep.ANSWER: Trust.TRUSTED},
    Trust.BENCHED: {TrustStep.LOSE: Trust.BENCHED, TrustStep.TRY: Trust.TRIAL, TrustStep.ANSWER: Trust.TRUSTED},
    Trust.TRIAL: {TrustStep.LOSE: Trust.BENCHED, TrustStep.ANSWER: Trust.TRUSTED},
}
"""It has no end: a worker that is gone for good is on no route any more."""

State = TypeVar("State", bound=StrEnum)
Step = TypeVar("Step", bound=StrEnum)


def step(life: Mapping[State, Mapping[Step, State]], state: State, taken: Step) -> State:
    """The state after ``taken``. Raises AssertionError where ``life`` does not allow it."""
    try:
        return life[state][taken]
    except KeyError:
        raise AssertionError(f"{state!r} does not allow {taken!r}") from None
