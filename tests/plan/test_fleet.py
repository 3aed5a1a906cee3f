"""Fleet files are read whole or refused with the place of the mistake."""

from pathlib import Path

import pytest

from cutwater.errors import BadFile
from cutwater.plan.fleet import load_fleet, local_fleet
from cutwater.units import NodeId

GOOD = """\
source: cam
sink: cloud
nodes:
  - {name: cam, cores: 4, memory: 1 GiB, speed: 0.2}
  - {name: cloud, cores: 16, threads: 4, profile: cloud.json}
  - name: helper
    host: box
links:
  - {from: cam, to: cloud, bandwidth: 20 Mbit/s, latency: 8 ms, medium: wifi}
  - {between: [cam, helper], bandwidth: 1 Gbit/s, send: {fixed: 20 us}}
default_link: {bandwidth: 100 Mbit/s}
media: {wifi: 50 Mbit/s}
hosts: {box: 8}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(text)
    return path


def test_quantities_are_read_in_base_units(tmp_path: Path) -> None:
    fleet = load_fleet(write(tmp_path, GOOD))
    cam, cloud, helper = fleet.nodes
    assert (cam.memory, cam.speed, cloud.threads, helper.cores) == (2**30, 0.2, 4, 8)
    up = fleet.link(NodeId("cam"), NodeId("cloud"))
    assert up is not None and (up.bandwidth, up.latency, up.medium) == (2.5e6, 0.008, "wifi")
    back = fleet.link(NodeId("helper"), NodeId("cam"))
    assert back is not None and back.send is not None and back.send.fixed == pytest.approx(20e-6)


def test_nodes_without_a_link_of_their_own_use_the_default(tmp_path: Path) -> None:
    fleet = load_fleet(write(tmp_path, GOOD))
    down = fleet.link(NodeId("cloud"), NodeId("cam"))
    assert down is not None and (down.source, down.target, down.bandwidth) == ("cloud", "cam", 12.5e6)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("memory: 1 GiB", "memroy: 1 GiB", r"fleet.yaml:4: nodes\[0\].memroy: unknown field; did you mean 'memory'"),
        ("to: cloud", "to: clod", r"fleet.yaml:9: links\[0\].to: there is no node 'clod'; did you mean 'cloud'"),
        ("source: cam", "source: cma", "there is no node 'cma'; did you mean 'cam'"),
        ("8 ms", "-8 ms", r"links\[0\].latency: -8 ms is negative"),
        ("20 Mbit/s", "20 mbitt/s", r"fleet.yaml:9: links\[0\].bandwidth: .*unknown unit"),
        ("speed: 0.2", "speed: 0", "must be above zero"),
        ("speed: 0.2", "speed: .nan", "must be above zero"),
        ("name: helper", "name: cam", "there are two nodes 'cam'"),
        ("[cam, helper]", "[cam, cam]", "joins two different nodes"),
        ("between: [cam, helper]", "from: cam", "needs either 'from' and 'to'"),
        ("host: box", "host: bx", "there is no host 'bx'; did you mean 'box'"),
        ("medium: wifi", "medium: wlan", "there is no medium 'wlan'"),
        ("cores: 16", "cores: many", "expected a whole number"),
        ("source: cam\n", "", "needs the field 'source'"),
        ("sink: cloud", "sink: cloud\nsink: cam", "stands here twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(BadFile, match=complaint):
        load_fleet(write(tmp_path, GOOD.replace(old, new, 1)))


def test_files_that_are_no_fleet(tmp_path: Path) -> None:
    for text in ("", "just words", "[1, 2]", "a: [", "nodes: []\nsource: a"):
        with pytest.raises(BadFile, match=r"fleet\.yaml"):
            load_fleet(write(tmp_path, text))
    with pytest.raises(BadFile, match="cannot be read"):
        load_fleet(tmp_path / "missing.yaml")


def test_workers_of_this_machine_share_its_cores() -> None:
    fleet = local_fleet(3, 2)
    assert [node.name for node in fleet.nodes] == ["gateway", "worker-0", "worker-1", "worker-2"]
    assert [node.stages for node in fleet.nodes] == [False, True, True, True]
    assert fleet.hosts == {"local": 2}
    assert fleet.link(NodeId("worker-0"), NodeId("worker-1")) is not None
