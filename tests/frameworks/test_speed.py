"""The speed index: the same network everywhere, measured once per machine."""

import time
from pathlib import Path

import numpy as np
import pytest

from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.speed import SIZE, measure_speed, reference_network, speed_index


def test_the_reference_network_is_the_same_each_time_and_runs() -> None:
    network = reference_network()
    assert network == reference_network()
    session = OnnxRuntime().load(network)
    [scores] = session.run({"pictures": np.ones((1, 3, SIZE, SIZE), np.float32)})
    assert scores.shape == (1, 100)
    assert np.isfinite(scores.astype(np.float64)).all()


@pytest.mark.slow
def test_measuring_takes_less_than_a_second_of_work() -> None:
    began = time.process_time()
    assert 0.01 < measure_speed() < 1000
    assert time.process_time() - began < 1.0


@pytest.mark.slow
def test_a_machine_is_measured_once(tmp_path: Path) -> None:
    first = speed_index("this one", tmp_path)
    assert speed_index("this one", tmp_path) == first
    (tmp_path / "speed.json").write_text("{torn")
    assert speed_index("this one", tmp_path) == pytest.approx(first, rel=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["speed.json"]
