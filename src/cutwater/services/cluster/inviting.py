"""Inviting and revoking: what the owner of a cluster's home does with its members, while it runs or not."""

import datetime
import re
from typing import NamedTuple

import msgspec

from cutwater.errors import BadSetting, FabricError, InputError
from cutwater.fabric.authority import Role
from cutwater.fabric.invitation import Invitation
from cutwater.fabric.permissions import REVOCATIONS
from cutwater.fabric.server import ServerOptions, reload
from cutwater.services.access import fabric_of
from cutwater.services.asking import Done, RevokeNode, ask_coordinator
from cutwater.services.background import Record
from cutwater.services.cluster.membership import OPERATOR, Member, Membership, addresses_for_others
from cutwater.services.facts import STATE
from cutwater.services.home import Home
from cutwater.settings.settings import FabricSettings
from cutwater.units import NodeId

FABRIC = "fabric"
_HOST = re.compile(r"[A-Za-z0-9.:_-]{0,253}")
INVITED = (Role.NODE, Role.GATEWAY, Role.CLIENT)


class Revoked(NamedTuple):
    """What revoking did."""

    member: Member
    trouble: str
    """Why the cluster could not be told: its deployments keep their tokens until it is. Empty: it was."""


async def invite(
    home: Home,
    settings: FabricSettings,
    name: str,
    role: Role,
    server: str,
    until: datetime.datetime,
) -> Invitation:
    """Let ``name`` in from elsewhere.

    Args:
        home: The cluster's.
        settings: How its fabric runs.
        name: Of the new member.
        role: What it may do.
        server: "HOST" or "HOST:PORT" where it reaches the fabric; empty: the machine's own addresses.
        until: When the invitation runs out.

    Raises:
        BadSetting: The fabric is not this home's, or nobody could reach it.
        InputError: The name cannot be invited.
    """
    _check_own(settings)
    if role not in INVITED:
        raise InputError(f"nobody is invited as a {role}; there are {', '.join(INVITED)}")
    membership = Membership(home.folder)
    with home.locked(lambda: None):
        membership.make()
        servers, hosts = _servers(home, settings, server)
        # Before the member comes, the server must be called what the invitation calls it.
        membership.name_server(hosts)
        invitation = membership.invite(role, name, servers, until)
        fabric = _reload(home, settings, membership)
    if fabric is not None:
        await _tell(settings, fabric, membership, None)
    return invitation


async def revoke(home: Home, settings: FabricSettings, name: str) -> Revoked:
    """Exclude ``name`` for good: the fabric ends its connection at once, and deployments get other tokens.

    Raises:
        BadSetting: The fabric is not this home's.
        NotFound: Nobody of this name was let in.
        InputError: It is not one that can be revoked.
    """
    _check_own(settings)
    membership = Membership(home.folder)
    with home.locked(lambda: None):
        member = membership.revoke(name)
        fabric = _reload(home, settings, membership)
    if fabric is None:
        return Revoked(member, "the cluster is down" if member.role is not Role.CLIENT else "")
    try:
        await _tell(settings, fabric, membership, member)
    except FabricError as error:
        return Revoked(member, str(error))
    return Revoked(member, "")


def _check_own(settings: FabricSettings) -> None:
    if settings.url:
        raise BadSetting(
            f"fabric.url: the NATS server at {settings.url} is your own, so its users are yours to add and to remove; "
            "docs/security.md lists what each role must be allowed"
        )


def _reload(home: Home, settings: FabricSettings, membership: Membership) -> Record | None:
    """Have the server know the members there are now; its process, if it runs."""
    fabric = home.alive().get(FABRIC)
    if fabric is not None:
        reload(membership.server(home.data(FABRIC), settings), fabric.pid)
    return fabric


async def _tell(settings: FabricSettings, fabric: Record, membership: Membership, gone: Member | None) -> None:
    """Publish whose certificates count no more; if somebody is ``gone``, have the coordinator act on it."""
    access = membership.access(msgspec.structs.replace(settings, url=fabric.facts["url"]), OPERATOR)
    async with fabric_of(access, OPERATOR) as connection:
        state = await connection.keys(STATE)
        await state.put(REVOCATIONS, membership.revocations.read_bytes())
        if gone is not None and gone.role is not Role.CLIENT:
            await ask_coordinator(connection, RevokeNode(NodeId(gone.name)), Done)


def _servers(home: Home, settings: FabricSettings, server: str) -> tuple[list[str], list[str]]:
    """The URLs for an invitation, and the hosts in them. Raises BadSetting, InputError."""
    options = Membership(home.folder).server(home.data(FABRIC), settings)
    scheme = "nats" if options.certificate is None else "tls"
    host, port = _split(server)
    if not port:
        port = _port(options)
    hosts = [host] if host else addresses_for_others(settings.listen)
    if not hosts:
        raise BadSetting(
            f"fabric.listen: the fabric listens on {settings.listen}, where no other machine can reach it; bring the "
            "cluster up with --fabric-listen 0.0.0.0, or say with --server where it is reached"
        )
    return [f"{scheme}://{f'[{each}]' if ':' in each else each}:{port}" for each in hosts], hosts


def _port(options: ServerOptions) -> int:
    if options.port:
        return options.port
    if not options.port_file.exists():
        raise BadSetting(
            "the cluster never ran, so its port is not known; `cutwater up` first, or set fabric.port, or say "
            "--server HOST:PORT"
        )
    return int(options.port_file.read_text())


def _split(server: str) -> tuple[str, int]:
    """``"[::1]:4222"`` -> ``("::1", 4222)``; 0: no port. Raises InputError."""
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]") or (":" in host and not host.endswith("]")):
        host, port = server, "0"
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535 or not _HOST.fullmatch(host):
        raise InputError(f"--server {server}: write it as HOST or HOST:PORT")
    return host, int(port)
