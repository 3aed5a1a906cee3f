"""What a pause costs a stage: found again in made-up times, nothing where there is nothing, and kept in the profile."""

from random import Random

import numpy as np
import pytest

from cutwater.lab.rest import GAPS, cold, fit_rest
from cutwater.profile.profile import Rest


def test_a_made_up_cost_of_pauses_is_found_again() -> None:
    rng = Random(1)
    gaps = [rng.expovariate(1 / 8e-3) for _ in range(500)]
    truth = Rest(1.2e-3, 6e-3)
    took = 3.5e-3 + cold(truth, gaps) + np.array([rng.gauss(0.0, 5e-5) for _ in gaps])
    warm, found = fit_rest(gaps, took)
    assert warm == pytest.approx(3.5e-3, rel=0.02)
    assert found.most == pytest.approx(truth.most, rel=0.05)
    assert found.time == pytest.approx(truth.time, rel=0.15)


@pytest.mark.parametrize("took", [[3e-3] * len(GAPS), [3e-3 - gap / 100 for gap in GAPS]])
def test_pauses_that_cost_nothing_add_nothing(took: list[float]) -> None:
    warm, found = fit_rest(GAPS, took)
    assert warm == pytest.approx(np.mean(took)) or found.most == pytest.approx(0.0, abs=1e-9)
    assert float(np.max(cold(found, GAPS))) == pytest.approx(0.0, abs=1e-9)
