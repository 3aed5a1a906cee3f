"""Joining: makes a machine a member of a cluster with an invitation, and starts what it was invited as."""

import msgspec

from cutwater.errors import BadInvitation, FabricLost, Forbidden, InputError
from cutwater.fabric.authority import Role
from cutwater.fabric.invitation import Invitation
from cutwater.fabric.permissions import REVOCATIONS
from cutwater.fabric.secret_files import write_secret
from cutwater.services.access import fabric_of
from cutwater.services.background import Recipe, Record, python, start
from cutwater.services.facts import STATE
from cutwater.services.home import Home
from cutwater.settings.handover import write_handover
from cutwater.settings.settings import FabricSettings, Settings
from cutwater.units import Seconds

MODULES = {Role.NODE: "cutwater.services.node.node", Role.GATEWAY: "cutwater.services.gateway.gateway"}
"""What an invitation starts; a client's starts nothing."""
SETTINGS = "settings.toml"
_WRITTEN = "# Written by `cutwater node join`, and by nobody else.\n"


def settle(home: Home, invitation: Invitation) -> FabricSettings:
    """Keep in ``home`` what the invitation holds; returns how the fabric is reached with it.

    Raises:
        InputError: The home belongs to somebody else.
    """
    _check_free(home, invitation)
    home.make()
    folder = home.folder / "membership"
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = {
        "ca.pem": invitation.ca,
        "certificate.pem": invitation.certificate,
        "key.pem": invitation.key,
        "seed": invitation.seed,
        "revocations.pem": invitation.revocations,
        "identity": invitation.identity.uri,
    }
    for name, text in kept.items():
        write_secret(folder / name, text.encode())
    settings = FabricSettings(url=",".join(invitation.servers), seed=folder / "seed")
    if all(server.startswith("tls://") for server in invitation.servers):
        settings = msgspec.structs.replace(
            settings,
            ca=folder / "ca.pem",
            certificate=folder / "certificate.pem",
            key=folder / "key.pem",
            revocations=folder / "revocations.pem",
        )
    write_secret(home.folder / SETTINGS, (_WRITTEN + _toml(settings)).encode())
    return settings


def _check_free(home: Home, invitation: Invitation) -> None:
    if (home.folder / "authority").exists():
        raise InputError(f"{home.folder} is the home of a cluster of its own; join in another one, with --home")
    try:
        identity = (home.folder / "membership" / "identity").read_text(encoding="utf-8")
    except FileNotFoundError:
        if (home.folder / SETTINGS).exists():
            raise InputError(f"{home.folder / SETTINGS} is in the way; join in another home, with --home") from None
        return
    if identity != invitation.identity.uri:
        raise InputError(
            f"{home.folder} belongs to {identity}, and this is an invitation of {invitation.identity.uri}; join in "
            "another home, with --home"
        )


def _toml(settings: FabricSettings) -> str:
    given = {name: str(value) for name, value in msgspec.structs.asdict(settings).items() if _is_given(name, value)}
    return "[fabric]\n" + "".join(f"{name} = {msgspec.json.encode(text).decode()}\n" for name, text in given.items())


def _is_given(name: str, value: object) -> bool:
    return bool(value != getattr(FabricSettings(), name))


async def knock(invitation: Invitation, settings: FabricSettings) -> None:
    """Show the invitation to the fabric, as a node would, and go again.

    Raises:
        BadInvitation: It counts no more, or the server is that of another cluster.
        FabricLost: Nobody answers.
    """
    who, where = invitation.name, " and ".join(invitation.servers)
    try:
        async with fabric_of(settings, who) as fabric:
            if invitation.role is not Role.CLIENT:
                await (await fabric.keys(STATE)).entries(REVOCATIONS)
    except Forbidden as error:
        raise BadInvitation(
            f"{invitation.cluster} does not let {who} in: the invitation was revoked, or replaced by a newer one; ask "
            "for a new one"
        ) from error
    except FabricLost as error:
        said = str(error).lower()
        if "mismatch" in said:
            raise BadInvitation(
                f"the server at {where} is not called so in its certificate; ask for a new invitation, made with "
                "--server and the address used here"
            ) from error
        if "certificate verify failed" in said:
            raise BadInvitation(
                f"the server at {where} does not belong to {invitation.cluster}: its certificate was signed by another "
                "authority; ask for an invitation to the cluster that runs there"
            ) from error
        raise


def settings_of(home: Home, settings: Settings, invitation: Invitation, fabric: FabricSettings) -> Settings:
    """The settings for the process that an invitation starts."""
    replace = msgspec.structs.replace
    settings = replace(settings, home=home.folder, fabric=fabric)
    name = invitation.name
    if invitation.role is Role.GATEWAY:
        return replace(settings, gateway=replace(settings.gateway, name=name))
    return replace(settings, node=replace(settings.node, name=name))


def command_of(home: Home, settings: Settings, role: Role) -> tuple[str, ...]:
    """The command that runs the process; what it is told lies in the home."""
    path = home.handover(role)
    write_handover(path, settings)
    return python(MODULES[role], str(path))


async def start_member(home: Home, settings: Settings, role: Role, limit: Seconds) -> tuple[Record, bool]:
    """Start the process in the background; the one that runs already, if it does. Whether it was started.

    Raises:
        ProcessLost: It did not begin to serve.
        CutwaterError: What it is unable to do.
    """
    with home.locked(lambda: None):
        running = home.alive().get(role)
        if running is not None:
            return running, False
        command = command_of(home, settings, role)
        recipe = Recipe(
            name=str(role),
            command=command,
            record=home.record(role),
            log=home.log(role),
            log_limit=settings.cluster.log_limit,
        )
        return await start(recipe, limit), True
