"""Room: whether a blueprint fits into the nodes' memory, and which deployment makes room when one does not."""

from collections.abc import Iterable

from cutwater.engine.coordinator.deployment import Deployment
from cutwater.engine.coordinator.members import Members
from cutwater.engine.facts.deployments import Blueprint
from cutwater.units import NodeId, Seconds


def nodes_of(blueprint: Blueprint) -> frozenset[NodeId]:
    """All nodes that run something of it."""
    return frozenset(post.node for chain in blueprint.chains for post in chain.posts)


def fits(blueprint: Blueprint, members: Members) -> bool:
    """Whether every node has memory left for its share; what was planned at the same time may have taken it."""
    asked: dict[NodeId, int] = {}
    for chain in blueprint.chains:
        for post in chain.posts:
            asked[post.node] = asked.get(post.node, 0) + post.memory
    return all(nbytes <= members[node].free for node, nbytes in asked.items())


def least_used(deployments: Iterable[Deployment], unused_since: Seconds) -> Deployment | None:
    """The deployment to park: live, not in the middle of a change, unused for longest; None where all are in use."""
    idle = [d for d in deployments if d.settled and d.used_at <= unused_since]
    return min(idle, key=lambda d: (d.used_at, d.spec.model), default=None)
