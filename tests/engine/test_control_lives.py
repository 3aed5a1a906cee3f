"""The lives of epochs and workers: every state meets every step, and the table alone says what comes of it."""

from enum import StrEnum
from itertools import product

import pytest

from cutwater.engine.coordinator.rollout import EPOCH_LIFE, EpochStep
from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.nodes import Phase
from cutwater.engine.keeper import WORKER_LIFE, WorkerStep
from cutwater.engine.lives import step

LIVES = [(EPOCH_LIFE, EpochPhase, EpochStep), (WORKER_LIFE, Phase, WorkerStep)]
MEETINGS = [(life, state, taken) for life, states, steps in LIVES for state, taken in product(states, steps)]


@pytest.mark.parametrize(("life", "state", "taken"), MEETINGS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_step_leads_where_the_table_says_or_nowhere(life, state: StrEnum, taken: StrEnum) -> None:
    if taken in life[state]:
        assert step(life, state, taken) is life[state][taken]
    else:
        with pytest.raises(AssertionError, match=f"does not allow .*{taken}"):
            step(life, state, taken)


@pytest.mark.parametrize(("life", "states"), [(EPOCH_LIFE, EpochPhase), (WORKER_LIFE, Phase)], ids=["epoch", "worker"])
def test_every_life_ends_in_gone_and_from_everywhere_a_way_leads_there(life, states) -> None:
    assert life.keys() == set(states) and [state for state in states if not life[state]] == [states.GONE]
    ending = {states.GONE}
    while grown := {state for state in states if set(life[state].values()) & ending} - ending:
        ending |= grown
    assert ending == set(states)
