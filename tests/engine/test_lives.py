"""Every state meets every step: the table alone says which of these meetings are allowed."""

from enum import StrEnum
from itertools import product

import pytest

from cutwater.engine.lives import (
    FLIGHT_LIFE,
    TRUST_LIFE,
    WORK_LIFE,
    Flight,
    FlightStep,
    Trust,
    TrustStep,
    Work,
    WorkStep,
    step,
)

LIVES = [(WORK_LIFE, Work, WorkStep), (FLIGHT_LIFE, Flight, FlightStep)]
ENDLESS = [(TRUST_LIFE, Trust, TrustStep)]
MEETINGS = [(life, state, taken) for life, states, steps in LIVES + ENDLESS for state, taken in product(states, steps)]


@pytest.mark.parametrize(("life", "state", "taken"), MEETINGS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_step_leads_where_the_table_says_or_nowhere(life, state: StrEnum, taken: StrEnum) -> None:
    if taken in life[state]:
        assert step(life, state, taken) is life[state][taken]
    else:
        with pytest.raises(AssertionError, match=f"does not allow .*{taken}"):
            step(life, state, taken)


@pytest.mark.parametrize(("life", "states", "steps"), LIVES, ids=["work", "flight"])
def test_every_life_can_end_and_what_has_ended_stays_so(life, states, steps) -> None:
    assert life.keys() == set(states)
    ends = {state for state in states if not life[state]}
    alive = set(states) - ends
    ending = set(ends)
    while grown := {state for state in alive - ending if set(life[state].values()) & ending}:
        ending |= grown
    assert ends and ending == set(states)
