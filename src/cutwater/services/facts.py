"""How the facts of a cluster are called on the fabric, and how they are written: buckets, keys, subjects, msgpack.

What stands under which name is said in `cutwater.engine.facts`.
"""

import logging
from typing import TypeVar

import msgspec

from cutwater.errors import BadFile
from cutwater.fabric import permissions
from cutwater.fabric.base import Entry
from cutwater.units import GatewayId, NodeId

STATE = permissions.STATE
LEASES = permissions.LEASES

COORDINATOR = "coordinator"
"""The lease of the one that leads."""
ASK_COORDINATOR = "ask.coordinator"
ASK_OPERATOR = "ask.operator"
"""Where a coordinator is asked for what only the cluster's operator may."""
NOTES = "notes"
STORED = "stored"
"""Key of the list of stage files."""
BORN = "born"
"""Key of the moment from which the store counts its terms."""
NODE_BEATS = "beat.node.*"
GATEWAY_BEATS = "beat.gateway.*"

T = TypeVar("T")
_log = logging.getLogger(__name__)

# JSON has no infinity, which a plan's gap may be; and beats are many.
encode = msgspec.msgpack.Encoder().encode


def decode(data: bytes, kind: type[T]) -> T:
    """A fact from what `encode` made of it. Raises BadFile for what another version wrote."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise BadFile(f"a {getattr(kind, '__name__', kind)} on the fabric cannot be read: {error}") from error


def readable(entry: Entry, kind: type[T]) -> T | None:
    """The fact under a key; None, and a word in the log, for one that is no such fact: it must not stop anybody."""
    if entry.value is None:
        return None
    try:
        return decode(entry.value, kind)
    except BadFile as error:
        _log.error("%s is ignored: %s", entry.key, error)
        return None


def decoder(kind: type[T]) -> "msgspec.msgpack.Decoder[T]":
    """For facts that come often."""
    return msgspec.msgpack.Decoder(kind)


def model_key(model: str) -> str:
    """Of a `ModelRecord`."""
    return f"model.{model}"


def deployment_key(model: str) -> str:
    """Of a `DeploymentRecord`."""
    return f"deployment.{model}"


def node_key(node: NodeId) -> str:
    """Of an `Announcement` in the state, of a node's lease among the leases."""
    return f"node.{node}"


def assign_key(node: NodeId) -> str:
    """Of an `Assignment`."""
    return f"assign.{node}"


def routes_key(gateway: GatewayId, model: str) -> str:
    """Of a `RouteTable`; with the model ``>`` a pattern of all tables of a gateway."""
    return f"routes.{gateway}.{model}"


def link_key(source: NodeId, target: NodeId) -> str:
    """Of a `MeasuredLink`."""
    return f"link.{source}.{target}"


def drain_key(node: NodeId) -> str:
    """Of a node on which nothing shall run; the value says since when."""
    return f"drain.{node}"


def revoked_key(node: NodeId) -> str:
    """Of a node that no longer belongs to the cluster; the value says since when."""
    return f"revoked.{node}"


def gateway_lease(gateway: GatewayId) -> str:
    """A gateway's lease."""
    return f"gateway.{gateway}"


def node_beat(node: NodeId) -> str:
    """Where a node beats."""
    return f"beat.node.{node}"


def gateway_beat(gateway: GatewayId) -> str:
    """Where a gateway beats."""
    return f"beat.gateway.{gateway}"


def ask_node(node: NodeId) -> str:
    """Where a node is asked."""
    return f"ask.node.{node}"
