"""Whatever goes wrong, and in whatever order: once it has stopped, exactly what is wanted runs."""

import pytest
from random_world import World


@pytest.mark.parametrize("seed", range(40))
def test_after_a_storm_exactly_what_is_wanted_runs(seed: int) -> None:
    world = World(seed)
    for _ in range(60):
        world.trouble()
        for _ in range(world.random.choice((1, 4, 12))):
            world.step()
    world.calm_down()
    for _ in range(400):
        world.step()
    world.check()
