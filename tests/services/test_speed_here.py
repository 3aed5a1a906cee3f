"""The speed of this machine is one number, whoever asks."""

from pathlib import Path

import pytest

from cutwater.services.speed import machine_speed


@pytest.mark.slow
def test_a_machine_has_one_speed_for_all_who_ask(tmp_path: Path) -> None:
    first = machine_speed(tmp_path)
    assert 0.01 < first < 1000
    assert machine_speed(tmp_path) == first
