"""Which processes a cluster's settings ask for on this machine."""

from cutwater.services.cluster.cluster import wanted_processes
from cutwater.settings.settings import ClusterSettings, Settings


def test_a_cluster_has_coordinators_nodes_and_a_gateway() -> None:
    settings = Settings(cluster=ClusterSettings(nodes=2, coordinators=2))
    assert wanted_processes(settings) == ["coordinator-1", "coordinator-2", "node-1", "node-2", "gateway"]


def test_without_nodes_of_its_own_it_only_leads() -> None:
    assert wanted_processes(Settings(cluster=ClusterSettings(nodes=0))) == ["coordinator-1"]
