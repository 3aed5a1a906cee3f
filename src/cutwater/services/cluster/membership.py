"""Membership: who belongs to the cluster of a home: its authority, its members, and the users its fabric knows.

HOME/authority/
  ca.pem, ca.key       the authority
  members.json         everybody who was ever let in, and the names the server is reached by
  revocations.pem      the signed list of certificates that count no more
  own/NAME.pem, .key, .seed   of the processes that are started here, and of the commands that are given here

Whoever changes something holds the home's lock. The first use makes it all.
"""

import datetime
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec
import psutil

from cutwater.errors import BadFile, InputError, NotFound, did_you_mean
from cutwater.fabric.authority import Authority, Role, new_serial
from cutwater.fabric.invitation import VERSION, Invitation
from cutwater.fabric.permissions import User, authorization, new_seed, public_of
from cutwater.fabric.secret_files import write_secret
from cutwater.fabric.server import ServerOptions
from cutwater.settings.settings import FabricSettings

OPERATOR = "operator"
SERVER = "server"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OWN_LIFE = datetime.timedelta(days=365)
"""Of the certificates of processes that are started here; renewed when they are started with less than half of it."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was let in."""

    name: str
    role: Role
    serial: str
    """Of the certificate, hex."""
    public: str
    """The NKey; empty for the server, which is no user of itself."""
    until: str
    """ISO 8601, UTC."""
    invited: bool
    """From elsewhere, by a file; else started here."""
    revoked: str = ""
    """When; empty: it belongs."""


class _Roll(msgspec.Struct, frozen=True, kw_only=True):
    """members.json."""

    members: dict[str, Member] = {}
    hosts: tuple[str, ...] = ()
    """What the server is called besides this machine's own addresses."""
    void: tuple[str, ...] = ()
    """Serials of certificates that were replaced before they ran out."""


class Membership:
    """Who belongs to the cluster in one home."""

    def __init__(self, home: Path) -> None:
        """``home``: the cluster's folder."""
        self.folder = home / "authority"
        self.revocations = self.folder / "revocations.pem"

    @property
    def exists(self) -> bool:
        """Whether anybody was ever let in."""
        return (self.folder / "ca.key").exists()

    def members(self) -> list[Member]:
        """Everybody, the revoked ones included, by name."""
        return sorted(self._roll().members.values(), key=lambda member: member.name)

    def make(self) -> Authority:
        """The authority; made if there is none, with the commands given here as its first member."""
        if self.exists:
            return Authority.open(self.folder)
        authority = Authority.create(self.folder, f"cutwater-{secrets.token_hex(4)}")
        (self.folder / "own").mkdir(mode=0o700, exist_ok=True)
        self._write(_Roll())
        self.enlist(Role.OPERATOR, OPERATOR)
        return authority

    # The processes of this home

    def enlist(self, role: Role, name: str) -> None:
        """Let a process in that is started here; harmless if it is in."""
        authority = self.make()
        roll = self._roll()
        member, now = roll.members.get(name), datetime.datetime.now(datetime.UTC)
        if member is not None and member.invited:
            raise InputError(f"{name} is a member that was invited; what is started here needs another name")
        if member is not None and member.role is role and _end(member) - now > _OWN_LIFE / 2 and self._own(name):
            return
        hosts = self._hosts(roll) if role is Role.SERVER else ()
        seed, until, serial = new_seed(), now + _OWN_LIFE, new_serial()
        made = authority.issue(role, name, until, serial, hosts)
        path = self.folder / "own" / name
        write_secret(path.with_suffix(".pem"), made.certificate)
        write_secret(path.with_suffix(".key"), made.key)
        write_secret(path.with_suffix(".seed"), seed.encode())
        public = "" if role is Role.SERVER else public_of(seed)
        self._admit(roll, _member(role, name, serial, public, until, invited=False))

    def access(self, settings: FabricSettings, name: str) -> FabricSettings:
        """The settings with which a process that is enlisted as ``name`` reaches the fabric at ``settings.url``."""
        path = self.folder / "own" / name
        settings = msgspec.structs.replace(settings, seed=path.with_suffix(".seed"))
        if not settings.url.startswith("tls://"):
            return settings
        return msgspec.structs.replace(
            settings,
            ca=self.folder / "ca.pem",
            certificate=path.with_suffix(".pem"),
            key=path.with_suffix(".key"),
            revocations=self.revocations,
        )

    def server(self, folder: Path, settings: FabricSettings) -> ServerOptions:
        """How the fabric's server is run: with the users there are, and TLS if it is reached from other machines.

        Args:
            folder: What the server keeps lies there.
            settings: Where it shall listen.
        """
        self.make()
        options = ServerOptions(
            home=folder,
            host=settings.listen,
            port=settings.port or 0,
            max_store=settings.store,
            users=authorization(self._users()),
        )
        if options.host in _LOOPBACK:
            return options
        if options.host not in ("0.0.0.0", "::"):
            self.name_server((options.host,))
        self.enlist(Role.SERVER, SERVER)
        path = self.folder / "own" / SERVER
        return msgspec.structs.replace(
            options,
            certificate=path.with_suffix(".pem"),
            key=path.with_suffix(".key"),
            ca=self.folder / "ca.pem",
        )

    def name_server(self, hosts: Iterable[str]) -> None:
        """Let the server's certificate say that it is (also) reached by these names and addresses."""
        roll = self._roll()
        fresh = tuple(host for host in hosts if host not in self._hosts(roll))
        if fresh:
            members = {name: member for name, member in roll.members.items() if name != SERVER}
            self._write(msgspec.structs.replace(roll, members=members, hosts=(*roll.hosts, *fresh)))

    # Others

    def invite(self, role: Role, name: str, servers: Iterable[str], until: datetime.datetime) -> Invitation:
        """Let somebody in from elsewhere. An earlier invitation of the same name ends.

        Raises:
            InputError: The name is none, was revoked, or belongs to a process that is started here.
        """
        authority = self.make()
        roll = self._roll()
        before = roll.members.get(name)
        if before is not None and before.revoked:
            raise InputError(f"{name} was revoked, which is for good; invite it under another name")
        if before is not None and not before.invited:
            raise InputError(f"{name} is a process of the cluster's own home; choose another name")
        seed, serial = new_seed(), new_serial()
        made = authority.issue(role, name, until, serial)
        self._admit(roll, _member(role, name, serial, public_of(seed), until, invited=True))
        return Invitation(
            version=VERSION,
            cluster=authority.cluster,
            role=role,
            name=name,
            until=until.isoformat(timespec="seconds"),
            servers=tuple(servers),
            ca=authority.ca.read_text(encoding="ascii"),
            certificate=made.certificate.decode(),
            key=made.key.decode(),
            seed=seed,
            revocations=self.revocations.read_text(encoding="ascii"),
        )

    def revoke(self, name: str) -> Member:
        """Exclude a member for good; harmless if it is. Raises NotFound, InputError."""
        roll = self._roll()
        member = roll.members.get(name)
        if member is None:
            raise NotFound(f"{name[:80]!r} was never let in{did_you_mean(name, roll.members)}")
        if not member.invited:
            raise InputError(f"{name} runs in the cluster's own home; `cutwater node drain` or `cutwater down` ends it")
        if not member.revoked:
            member = msgspec.structs.replace(member, revoked=_now())
            self._write(msgspec.structs.replace(roll, members={**roll.members, name: member}))
        return member

    # What is kept

    def _admit(self, roll: _Roll, member: Member) -> None:
        before = roll.members.get(member.name)
        void = roll.void if before is None else (*roll.void, before.serial)
        self._write(msgspec.structs.replace(roll, members={**roll.members, member.name: member}, void=void))

    def _users(self) -> list[User]:
        found = [member for member in self._roll().members.values() if member.public and not member.revoked]
        return [User(member.role, member.name, member.public) for member in found]

    def _own(self, name: str) -> bool:
        path = self.folder / "own" / name
        return all(path.with_suffix(suffix).exists() for suffix in (".pem", ".key", ".seed"))

    def _hosts(self, roll: _Roll) -> tuple[str, ...]:
        addresses = (each.address for found in psutil.net_if_addrs().values() for each in found if _is_ip(each.family))
        here = ("localhost", socket.gethostname(), *(address.partition("%")[0] for address in addresses))
        return tuple(dict.fromkeys((*here, *roll.hosts)))

    def _roll(self) -> _Roll:
        path = self.folder / "members.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Roll)
        except FileNotFoundError:
            return _Roll()
        except (OSError, msgspec.MsgspecError) as error:
            raise BadFile(f"{path}: cannot be read: {error}") from error

    def _write(self, roll: _Roll) -> None:
        write_secret(self.folder / "members.json", msgspec.json.format(msgspec.json.encode(roll), indent=2))
        revoked = (member.serial for member in roll.members.values() if member.revoked)
        serials = [int(serial, 16) for serial in (*revoked, *roll.void)]
        write_secret(self.revocations, Authority.open(self.folder).revocations(serials))


def addresses_for_others(options_host: str) -> list[str]:
    """Where other machines may reach a server that listens at ``options_host``; none if only this one does."""
    if options_host in _LOOPBACK:
        return []
    if options_host not in ("0.0.0.0", "::"):
        return [options_host]
    found = (each for faces in psutil.net_if_addrs().values() for each in faces if each.family == socket.AF_INET)
    return [each.address for each in found if not each.address.startswith("127.")]


def _is_ip(family: int) -> bool:
    return family in (socket.AF_INET, socket.AF_INET6)


def _member(role: Role, name: str, serial: int, public: str, until: datetime.datetime, *, invited: bool) -> Member:
    end = until.isoformat(timespec="seconds")
    return Member(name=name, role=role, serial=f"{serial:x}", public=public, until=end, invited=invited)


def _end(member: Member) -> datetime.datetime:
    return datetime.datetime.fromisoformat(member.until)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
