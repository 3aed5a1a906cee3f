"""What a simulated cluster did is replayed to the same commands, and told in sentences."""

import json
import re

import pytest
from typer.testing import CliRunner

from cutwater.cli.app import app
from cutwater.drivers.faults import Hang, Kill, Partition, What
from cutwater.drivers.sim.cluster import ClusterOptions, NodeOptions, SimCluster
from cutwater.drivers.sim.models import SimModel
from cutwater.drivers.tracefile import TraceFile, read_trace
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.replay import replay
from cutwater.engine.story import tell
from cutwater.engine.trace import Step
from cutwater.units import NodeId, RequestId


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four nodes, two stages with two workers each; a worker hangs, one is killed, a node is cut off."""
    path = tmp_path_factory.mktemp("traces") / "cluster.jsonl"
    trace = TraceFile(path)
    cluster = SimCluster(
        [NodeOptions(node=NodeId(f"n{k}")) for k in range(4)],
        [SimModel(name="net", blocks=(5e-3,) * 4, memory=2**20)],
        options=ClusterOptions(),
        trace=trace,
    )
    assert cluster.run_until(lambda: cluster.leader is not None, 5.0)
    cluster.deploy(DeploySpec(model="net", stages=2, replicas=2))
    assert cluster.run_until(lambda: cluster.live("net"), 60.0)
    cluster.offer(((0.05 * number, "net") for number in range(200)), 20.0)
    cluster.suffer(
        [
            Hang(at=1.0, what=What.WORKER, seconds=6.0),
            Kill(at=4.0, what=What.WORKER),
            Partition(at=5.0, nodes=(NodeId("n3"),), seconds=2.0),
            Kill(at=3.0, what=What.COORDINATOR, back=1.0),
        ]
    )
    cluster.world.settle(cluster.world.clock.now + 60.0)
    trace.close()
    return path, cluster


def test_all_machines_of_a_cluster_replay_to_the_same_commands(run):
    path, _ = run
    found = replay(read_trace(path))
    assert found.difference is None
    assert found.steps > 1000
    kinds = {json.loads(line)["kind"] for line in path.read_bytes().splitlines() if line.startswith(b"{")}
    assert kinds == {"Gateway", "StageWorker", "Coordinator", "Keeper", "Turns"}


def test_the_command_says_so_and_ends_with_1_at_the_first_difference(run, tmp_path):
    path, _ = run
    same = CliRunner().invoke(app, ["replay", str(path)])
    assert (same.exit_code, "same commands" in same.output) == (0, True)
    changed = tmp_path / "changed.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    at, line = next((n, line) for n, line in enumerate(lines) if b'"Complete"' in line)
    lines[at] = re.sub(rb'("type":"Complete","request":)(-?\d+)', rb"\g<1>999999", line)
    changed.write_bytes(b"".join(lines))
    other = CliRunner().invoke(app, ["replay", str(changed), "--json"])
    assert other.exit_code == 1
    step = json.loads(other.output)["difference"]["step"]
    assert step[3][-1]["request"] == 999999 or any(command.get("request") == 999999 for command in step[3])


def test_a_story_tells_of_the_retry(run):
    path, cluster = run
    again = next(asking for asking in cluster.world.askings if asking.attempt == 2)
    steps = [line for line in read_trace(path) if isinstance(line, Step)]
    sentences = tell(steps, again.request)
    texts = [sentence.text for sentence in sentences]
    assert texts[0] == "asked, with 20 s for the answer"
    assert any(text.startswith("attempt 1 goes by") for text in texts)
    assert any(text.startswith("tried again: attempt 2 goes by") for text in texts)
    assert any(text.startswith("computed it in 1") for text in texts)
    assert re.fullmatch(r"answered, .* after it was asked", texts[-1]) or "late" in texts[-1]
    assert [s.now for s in sentences] == sorted(s.now for s in sentences)


def test_a_story_tells_of_a_late_answer(run):
    path, _ = run
    steps = [line for line in read_trace(path) if isinstance(line, Step)]
    requests = {getattr(step.event, "request", None) for step in steps} - {None}
    told = [sentence.text for request in requests for sentence in tell(steps, RequestId(request))]
    assert not any("dropped" in text and "attempt 2" in text for text in told)


def test_the_story_command_names_what_it_cannot_find(run):
    path, _ = run
    found = CliRunner().invoke(app, ["story", "5", "--trace", str(path)])
    assert found.exit_code == 0 and "asked, with 20 s" in found.output
    missing = CliRunner().invoke(app, ["story", "123456", "--trace", str(path)])
    assert missing.exit_code != 0
