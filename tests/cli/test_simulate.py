"""`cutwater simulate` predicts what a plan does under load; the same seed says the same."""

import json

import pytest
from sim_plans import chain_plan
from typer.testing import CliRunner

from cutwater.cli.app import app
from cutwater.plan.files import save_plan


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "net.plan.yaml"
    save_plan(chain_plan((8e-3, 10e-3, 7e-3)), path)
    return path


def simulate(plan, *arguments):
    return CliRunner().invoke(app, ["simulate", str(plan), "--for", "3 s", *arguments])


def test_a_plan_below_its_limit_answers_everything_at_the_rate_that_is_asked(plan):
    said = json.loads(simulate(plan, "--rate", "50", "--arrivals", "constant", "--json").output)
    assert (said["asked"], said["answered"], said["lost"]) == (149, 149, 0)
    assert said["throughput"] == pytest.approx(50, rel=0.02)
    assert said["busy"]["1"] > said["busy"]["0"] > 0.3


def test_a_plan_above_its_limit_answers_at_its_limit(plan):
    said = json.loads(simulate(plan, "--rate", "300", "--json").output)
    assert said["throughput"] == pytest.approx(100, rel=0.05)
    assert said["p99"] > 1.0


def test_the_seed_decides(plan):
    one, again, other = (simulate(plan, "--seed", seed, "--json").output for seed in ("1", "1", "2"))
    assert one == again != other


def test_a_killed_node_leaves_typed_errors_and_no_request_without_an_answer(plan):
    result = simulate(plan, "--rate", "20", "--timeout", "2 s", "--fault", "kill n2 at 1 s")
    assert result.exit_code == 0
    assert "DeadlineExceeded" in result.output


def test_what_cannot_be_simulated_is_refused(plan):
    assert simulate(plan, "--arrivals", "often").exit_code != 0
    assert simulate(plan, "--fault", "kill n9 at 1 s").exit_code != 0
    assert simulate(plan, "--rate", "0").exit_code != 0
