"""Invitation: one file with everything a machine needs to become a member of a cluster, and the proof that it may.

It holds a private key and a seed: whoever has the file is the member. It is text (TOML), readable by its owner only.
"""

import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cutwater.errors import BadFile, BadInvitation, InputError
from cutwater.fabric.authority import (
    Identity,
    Role,
    cluster_of,
    has_signed,
    identity_of,
    read_revocations,
)
from cutwater.fabric.permissions import public_of
from cutwater.fabric.secret_files import write_secret
from cutwater.units import check_name

LIMIT = 64 * 1024
"""Bytes of the largest file that is looked at."""
VERSION = 1

_Pem = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
_Url = Annotated[str, msgspec.Meta(pattern=r"^(nats|tls)://[A-Za-z0-9.:\[\]_-]{1,255}$")]

_HEAD = """\
# An invitation to the Cutwater cluster {cluster}, for the {role} {name}, good until {until}.
# Whoever has this file is {name}: keep it as you would keep a password. To use it:
#     cutwater node join {file}
# To end it, where the cluster was started:
#     cutwater node revoke {name}

"""


class Invitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says."""

    version: int
    cluster: str
    role: Role
    name: str
    until: str
    """ISO 8601, UTC; for people: what counts is the certificate."""
    servers: Annotated[tuple[_Url, ...], msgspec.Meta(min_length=1, max_length=32)]
    """Where the fabric is: "tls://host:port"."""
    ca: _Pem
    """Certificate of the cluster's authority."""
    certificate: _Pem
    key: _Pem
    seed: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    """Of the member's NKey."""
    revocations: Annotated[str, msgspec.Meta(max_length=48 * 1024)]
    """Whose certificates counted no more when it was written."""

    @property
    def identity(self) -> Identity:
        """Whom it invites."""
        return Identity(self.cluster, self.role, self.name)


def write_invitation(path: Path, invitation: Invitation) -> None:
    """Write it where only the owner can read it. Raises BadFile."""
    try:
        write_secret(path, _HEAD.format(file=path.name, **_fields(invitation)).encode() + _toml(invitation))
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def read_invitation(path: Path, now: datetime.datetime) -> Invitation:
    """The invitation in a file, if it holds together and is not out of date.

    Raises:
        BadInvitation: What is wrong with it, and what to do.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        raise BadInvitation(f"{path}: the invitation cannot be read: {error.strerror}") from error
    if len(data) > LIMIT:
        raise BadInvitation(f"{path}: is no invitation: those are smaller than {LIMIT // 1024} KiB")
    try:
        invitation = msgspec.toml.decode(data, type=Invitation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInvitation(
            f"{path}: is no invitation: {error}; make one with `cutwater node invite NAME`, and copy it unchanged"
        ) from error
    if invitation.version != VERSION:
        raise BadInvitation(
            f"{path}: was written by another version of Cutwater (invitation {invitation.version}, here {VERSION})"
        )
    _check(path, invitation, now)
    return invitation


def _check(path: Path, invitation: Invitation, now: datetime.datetime) -> None:
    """Whether all its parts belong together, and when it runs out. Raises BadInvitation."""
    try:
        check_name("cluster", invitation.cluster)
        check_name(invitation.role, invitation.name)
        public_of(invitation.seed)
        authority = x509.load_pem_x509_certificate(invitation.ca.encode())
        certificate = x509.load_pem_x509_certificate(invitation.certificate.encode())
        key = serialization.load_pem_private_key(invitation.key.encode(), password=None)
        who = identity_of(certificate)
        read_revocations(authority, invitation.revocations.encode())
    except (InputError, BadFile, ValueError, TypeError) as error:
        raise BadInvitation(f"{path}: is damaged: {error}; ask for a new one") from error
    if not has_signed(authority, certificate):
        raise BadInvitation(
            f"{path}: its certificate was not signed by the authority of {cluster_of(authority)}; it is put together "
            "from invitations to different clusters; ask for a new one"
        )
    if who != invitation.identity or key.public_key() != certificate.public_key():
        raise BadInvitation(f"{path}: its certificate is for {who.uri}, and not what else it says; ask for a new one")
    end = certificate.not_valid_after_utc
    if now >= end:
        raise BadInvitation(
            f"{path}: the invitation of {who.name} to {who.cluster} ran out at {end:%Y-%m-%d %H:%M} UTC; ask for a "
            f"new one: `cutwater node invite {who.name}`"
        )


def _fields(invitation: Invitation) -> dict[str, str]:
    return {name: str(getattr(invitation, name)) for name in ("cluster", "role", "name", "until")}


def _toml(invitation: Invitation) -> bytes:
    """As TOML has it, certificates and keys line by line."""
    lines = []
    for name, value in msgspec.to_builtins(invitation).items():
        if isinstance(value, str) and "\n" in value:
            lines.append(f'{name} = """\n{value.strip()}\n"""')
        else:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    return ("\n".join(lines) + "\n").encode()
