"""A cluster on this machine, as a person brings it up, looks at it, and takes it down."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from typed import typed

from cutwater.services.background import birth, marked

pytestmark = pytest.mark.slow

CUTWATER = [sys.executable, "-m", "cutwater"]
EVERYTHING = {"fabric", "coordinator-1", "node-1", "node-2", "gateway"}


class Cluster:
    """A home, and commands in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "CUTWATER_HOME": str(home)}

    def type(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command, in a process of its own if it starts others or ends them."""
        if words[0] not in ("up", "down"):
            return typed(*words, CUTWATER_HOME=str(self.home))
        command = [*CUTWATER, *map(str, words)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def ask(self, *words: object) -> Any:
        """The JSON that a command answers with; it must succeed."""
        ended = self.type(*words, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def pids(self) -> dict[str, int]:
        return {name: process["pid"] for name, process in self.ask("status")["processes"].items()}

    def nodes(self) -> dict[str, bool]:
        """Name -> whether the cluster counts it as alive."""
        return {node["announcement"]["node"]: node["alive"] for node in self.ask("node", "list")}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """An empty home with a short path; nothing of it is left afterwards."""
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        made = Cluster(Path(folder))
        yield made
        made.type("down")
        left = marked(made.home / "run")
        for process in left:
            process.kill()
        assert left == []


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster of two nodes."""
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        made = Cluster(Path(folder))
        try:
            assert set(made.ask("up", "--nodes", 2)["processes"]) == EVERYTHING
            yield made
        finally:
            made.type("down")


def wait_until_lost(cluster: Cluster, node: str) -> None:
    """Watch the status until the cluster counts the node as lost."""
    command = [*CUTWATER, "status", "--watch", "--json"]
    with subprocess.Popen(command, env=cluster.environment, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        for line in watch.stdout:
            seen = json.loads(line)["cluster"]
            if seen and not {each["announcement"]["node"]: each["alive"] for each in seen["nodes"]}[node]:
                break
        watch.terminate()


def test_up_again_changes_nothing(running: Cluster) -> None:
    before = running.pids()
    assert set(before) == EVERYTHING
    again = running.ask("up")
    assert [name for name, process in again["processes"].items() if process["started"]] == []
    assert running.pids() == before, "it remembers that two nodes were asked for"
    assert running.nodes() == {"node-1": True, "node-2": True}


def test_what_was_killed_is_seen_as_lost_and_brought_back(running: Cluster) -> None:
    before = running.pids()
    os.kill(before["node-2"], signal.SIGKILL)
    wait_until_lost(running, "node-2")
    assert "node-2" in running.type("status").stdout
    back = running.ask("up")
    assert [name for name, process in back["processes"].items() if process["started"]] == ["node-2"]
    after = running.pids()
    assert {name for name in after if after[name] != before[name]} == {"node-2"}
    assert running.nodes() == {"node-1": True, "node-2": True}


def test_the_status_goes_on_without_a_coordinator_and_says_so(running: Cluster) -> None:
    os.kill(running.pids()["coordinator-1"], signal.SIGKILL)
    seen = running.ask("status")
    assert "no coordinator answers" in seen["trouble"]
    assert [node["alive"] for node in seen["cluster"]["nodes"]] == [True, True]
    assert [gateway["beat"]["gateway"] for gateway in seen["cluster"]["gateways"]] == ["gateway"]
    shown = running.type("status")
    assert shown.returncode == 0
    assert "no coordinator answers" in shown.stdout
    assert "ended: coordinator-1" in shown.stdout
    running.ask("up")
    assert running.ask("status")["trouble"] == ""


def test_a_node_is_drained_and_used_again(running: Cluster) -> None:
    def draining() -> list[bool]:
        return [node["draining"] for node in running.ask("node", "list")]

    assert running.ask("node", "drain", "node-1") == {"node": "node-1", "state": "draining"}
    assert draining() == [True, False]
    running.ask("node", "undrain", "node-1")
    assert draining() == [False, False]
    ended = running.type("node", "drain", "nod-1", "--json")
    assert ended.returncode == 2
    assert "did you mean 'node-1'?" in json.loads(ended.stdout)["error"]["message"]


def test_logs_are_shown_by_process(running: Cluster) -> None:
    assert set(running.ask("logs")) == EVERYTHING
    assert any(
        "Listening for client connections" in line for line in running.ask("logs", "fabric", "-n", 100)["fabric"]
    )
    assert running.type("logs", "--lines", 3).returncode == 0
    ended = running.type("logs", "node-7", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["error"]["kind"]) == (2, "NotFound")


def test_settings_are_shown_with_where_they_come_from(running: Cluster) -> None:
    shown = running.ask("config", "show")
    assert shown["cluster.nodes"] == {"value": "2", "from": "flag of the last `cutwater up`"}
    assert shown["home"] == {"value": str(running.home), "from": "environment CUTWATER_HOME"}
    assert shown["gateway.patience"] == {"value": "1 s", "from": "default"}
    assert "gateway.patience" in running.type("config", "show").stdout


def test_more_nodes_are_added_and_down_leaves_nothing(cluster: Cluster) -> None:
    (cluster.home / "settings.yaml").write_text("cluster:\n  nodes: 1\nnode:\n  memory: 1 GiB\n")
    cluster.ask("up")
    more = cluster.ask("up", "--nodes", 2, "--coordinators", 2)
    assert {name for name, each in more["processes"].items() if each["started"]} == {"node-2", "coordinator-2"}
    assert {node["announcement"]["hardware"]["memory"] for node in cluster.ask("node", "list")} == {2**30}
    pids = cluster.pids()
    port = int(more["processes"]["fabric"]["url"].rpartition(":")[2])
    down = cluster.ask("down")
    assert (set(down["stopped"]), down["killed"]) == ({*EVERYTHING, "coordinator-2"}, [])
    assert [name for name, pid in pids.items() if birth(pid) is not None] == []
    assert marked(cluster.home / "run") == []
    assert port not in {each.laddr.port for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    assert cluster.ask("down") == {"home": str(cluster.home), "stopped": [], "killed": []}
    ended = cluster.type("status", "--json")
    assert ended.returncode == 1
    assert "cutwater up" in json.loads(ended.stdout)["error"]["message"]


def test_two_at_once_start_one_cluster(cluster: Cluster) -> None:
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: cluster.ask("up", "--nodes", 1), range(2))
    started = [[name for name, each in up["processes"].items() if each["started"]] for up in (first, second)]
    assert sorted(map(len, started)) == [0, 4]
    assert len([each for each in marked(cluster.home / "run") if "cutwater.services.node.node" in each.cmdline()]) == 1


def test_an_interrupt_during_the_start_ends_what_was_started(cluster: Cluster) -> None:
    command = [*CUTWATER, "up", "--nodes", "2"]
    with subprocess.Popen(command, env=cluster.environment, stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        assert any("starting coordinator-1" in line for line in starting.stderr)
        starting.send_signal(signal.SIGINT)
    assert starting.returncode == 130
    assert marked(cluster.home / "run") == []
    assert list((cluster.home / "run").glob("*.json")) == []


def test_a_process_that_cannot_start_says_why_and_leaves_nothing(cluster: Cluster) -> None:
    ended = cluster.type("up", "--gateway-clients", "tcp:256.256.256.256:1", "--gateway-token", "x", "--json")
    assert ended.returncode != 0
    assert "gateway" in json.loads(ended.stdout)["error"]["message"]
    assert "Traceback" not in ended.stderr
    assert marked(cluster.home / "run") == []


def test_a_home_whose_path_is_too_long_for_sockets_works(tmp_path: Path) -> None:
    home = Cluster(tmp_path / ("deep-" * 12) / ("deeper-" * 10))
    try:
        up = home.ask("up", "--nodes", 1)
        assert len(up["processes"]["gateway"]["socket"]) < 107
        assert home.nodes() == {"node-1": True}
        sockets = (home.home / "sockets").readlink()
        assert sockets.is_dir()
    finally:
        home.type("down")
    assert not sockets.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("up", "--nodes", "many"), "flag --nodes: expected a number, not 'many'"),
        (("up", "--node-memory", "2 GiBB"), "flag --node-memory: '2 GiBB' has an unknown unit"),
        (("up", "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("logs",), "start a cluster with `cutwater up`"),
        (("node", "list"), "start it with `cutwater up`"),
    ],
)
def test_a_mistake_is_said_before_anything_is_started(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    ended = typed(*words, "--json", CUTWATER_HOME=str(tmp_path))
    assert ended.returncode in (1, 2)
    assert says in json.loads(ended.stdout)["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_the_shell_completes_commands_and_flags() -> None:
    def complete(words: str) -> str:
        variables = {
            "_CUTWATER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        command = [str(Path(sys.executable).parent / "cutwater")]
        return subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
        ).stdout

    assert complete("cutwater stat").split() == ["status"]
    assert complete("cutwater node dr").split() == ["drain"]
    assert "--coordinators" in complete("cutwater up --co").split()
