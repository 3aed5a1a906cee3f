"""`cutwater node invite`, `join` and `revoke`: who belongs to a cluster."""

import datetime
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cutwater.cli.console import messages, print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.drivers.loop import run
from cutwater.errors import InputError, NoReply
from cutwater.fabric.authority import Role
from cutwater.fabric.invitation import Invitation, read_invitation, write_invitation
from cutwater.services.cluster import inviting, joining
from cutwater.services.home import Home
from cutwater.settings.resolve import Resolved, default_home

Name = Annotated[str, typer.Argument(help="The member's name.", show_default=False)]


@with_settings("", "fabric")
def invite(
    resolved: Resolved,
    name: Name,
    role: Annotated[str, typer.Option(help="node, gateway or client.")] = "node",
    server: Annotated[
        str,
        typer.Option(
            help="Where the member reaches the fabric, HOST or HOST:PORT (default: any address of this machine)."
        ),
    ] = "",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the invitation is good.")] = 365,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write (default: NAME.toml).")] = None,
    json: Json = False,
) -> None:
    """Write an invitation: one file with which another machine becomes a member, until it runs out or is revoked.

    Inviting a name again ends its earlier invitation.
    """
    if role not in inviting.INVITED:
        raise InputError(f"--role {role}: there is no such role; there are {', '.join(inviting.INVITED)}")
    until = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=days)
    home = Home(resolved.home)
    home.make()
    made = run(inviting.invite(home, resolved.settings.fabric, name, Role(role), server, until))
    path = out or Path(f"{name}.toml")
    write_invitation(path, made)
    if json:
        print_json({"file": str(path), "cluster": made.cluster, "until": made.until, "servers": made.servers})
        return
    results.print(f"{path}: invites {name} to {made.cluster} as a {role}, until {made.until}", soft_wrap=True)
    messages.print(f"bring it there by a safe way (whoever has it is {name}), then:  cutwater node join {path.name}")


@with_settings("node", "cluster", "gateway", "observe")
def join(
    resolved: Resolved,
    file: Annotated[Path, typer.Argument(help="The invitation.", show_default=False)],
    foreground: Annotated[bool, typer.Option("--foreground", help="Run here, not in the background.")] = False,
    json: Json = False,
) -> None:
    """Join a cluster with an invitation, and run what it invites to: a node agent, or a gateway.

    What it needs is kept in a home of its own, named after the member if none is set. `cutwater down` ends it.
    """
    invitation = read_invitation(file, datetime.datetime.now(datetime.UTC))
    home = Home(_home_of(resolved, invitation))
    fabric = joining.settle(home, invitation)
    run(joining.knock(invitation, fabric))
    if invitation.role is Role.CLIENT:
        _tell_joined(home, invitation, None, json)
        return
    settings = joining.settings_of(home, resolved.settings, invitation, fabric)
    if foreground:
        command = joining.command_of(home, settings, invitation.role)
        messages.print(f"{invitation.name} runs until it is interrupted", style="dim")
        sys.stdout.flush()
        os.execv(command[0], command)
    record, _ = run(joining.start_member(home, settings, invitation.role, settings.cluster.start_limit))
    _tell_joined(home, invitation, record.pid, json)


def _home_of(resolved: Resolved, invitation: Invitation) -> Path:
    return resolved.home if resolved.settings.home is not None else default_home().parent / invitation.name


def _tell_joined(home: Home, invitation: Invitation, pid: int | None, json: bool) -> None:
    if json:
        print_json({"name": invitation.name, "cluster": invitation.cluster, "home": str(home.folder), "pid": pid})
        return
    what = f"runs as process {pid}" if pid is not None else "may give commands"
    results.print(f"{invitation.name} belongs to {invitation.cluster} and {what}; its home is {home.folder}")
    messages.print(f"next:  export CUTWATER_HOME={home.folder}")


@with_settings("", "fabric")
def revoke(resolved: Resolved, name: Name, json: Json = False) -> None:
    """Exclude a member for good: it is cut off at once, and what runs gets tokens that it does not know."""
    gone = run(inviting.revoke(Home(resolved.home), resolved.settings.fabric, name))
    if json:
        print_json({"name": name, "revoked": gone.member.revoked, "trouble": gone.trouble})
    else:
        results.print(f"{name} is revoked since {gone.member.revoked}")
    if gone.trouble:
        raise NoReply(f"{name} is cut off, but deployments keep the tokens it knows: {gone.trouble}; revoke it again")
