"""What each role may do on the fabric: the authorization block of a NATS server, one NKey user per member.

Whoever may put a key may also make the bucket, and whoever may store or fetch a blob the stream of blobs, as processes
start in any order; changing one that exists is the coordinator's. Answers come back on subjects of each user's own.
"""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import nkeys

from cutwater.errors import BadFile
from cutwater.fabric.authority import Role
from cutwater.fabric.blobs import STREAM

STATE = "cutwater-state"
LEASES = "cutwater-leases"
REVOCATIONS = "revocations"
"""Key of the list of revoked certificates in the state; everybody may read it."""
_API = "$JS.API"
_MADE = ("INFO", "CREATE")
"""What a process asks of a stream before it uses it."""


class User(NamedTuple):
    """A member, as the server knows it."""

    role: Role
    name: str
    public: str
    """Its NKey."""


class Allowed(NamedTuple):
    """Subjects."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def allowed(user: User) -> Allowed | None:
    """What a user may do; None: everything."""
    name = user.name
    inbox = f"{inbox_of(user.public)}.>"
    match user.role:
        case Role.NODE:
            published = (
                f"beat.node.{name}",
                "notes",
                *_bucket(STATE),
                *_own(STATE, f"node.{name}", f"link.{name}.*"),
                *_read(STATE, f"node.{name}", f"assign.{name}", REVOCATIONS),
                *_bucket(LEASES),
                *_own(LEASES, f"node.{name}"),
                *_read(LEASES, f"node.{name}", "coordinator"),
                *_fetch(),
            )
            return Allowed(published, (inbox, f"ask.node.{name}"))
        case Role.GATEWAY:
            published = (
                f"beat.gateway.{name}",
                "notes",
                "ask.coordinator",
                *_bucket(STATE),
                *_read(STATE, f"routes.{name}.*", f"routes.{name}.>", REVOCATIONS),
                *_bucket(LEASES),
                *_own(LEASES, f"gateway.{name}"),
                *_read(LEASES, f"gateway.{name}"),
                *_fetch(),
            )
            return Allowed(published, (inbox, "notes"))
        case Role.CLIENT:
            return Allowed(("ask.coordinator", *_fetch(), "blob.*.*"), (inbox,))
        case _:
            return None


def _bucket(bucket: str) -> tuple[str, ...]:
    return tuple(f"{_API}.STREAM.{act}.KV_{bucket}" for act in _MADE)


def _own(bucket: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"$KV.{bucket}.{key}" for key in keys)


def _read(bucket: str, *keys: str) -> tuple[str, ...]:
    """Get, and watch: the key watched is part of the subject, and the server holds the request to it."""
    subjects = [f"{_API}.CONSUMER.DELETE.KV_{bucket}.*"]
    for key in keys:
        subjects.append(f"{_API}.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{key}")
        subjects.append(f"{_API}.CONSUMER.CREATE.KV_{bucket}.*.$KV.{bucket}.{key}")
    return tuple(subjects)


def _fetch() -> tuple[str, ...]:
    made = (f"{_API}.STREAM.{act}.{STREAM}" for act in _MADE)
    return (*made, f"{_API}.DIRECT.GET.{STREAM}.blob.*.*")


def authorization(users: Iterable[User]) -> str:
    """The server's ``authorization`` block; nobody else gets in."""
    listed = ",\n".join(f"    {_user(user)}" for user in users)
    return f"authorization {{\n  timeout: 5\n  users: [\n{listed}\n  ]\n}}"


def _user(user: User) -> str:
    may = allowed(user)
    if may is None:
        return f"{{ nkey: {user.public} }}"
    publish, subscribe = (json.dumps(subjects) for subjects in may)
    # A service answers once, to whoever has asked.
    answers = 'allow_responses: { max: 1, expires: "1m" }'
    limits = f"publish: {{ allow: {publish} }}, subscribe: {{ allow: {subscribe} }}, {answers}"
    return f"{{ nkey: {user.public}, permissions: {{ {limits} }} }}"


def inbox_of(public: str) -> str:
    """First words of the subjects on which answers to this user come back: nobody else may listen there."""
    return f"_INBOX.{public}"


def new_seed() -> str:
    """The seed of a new NKey: what proves to the server who somebody is."""
    return bytes(nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)).decode()


def public_of(seed: str) -> str:
    """The NKey of a seed. Raises BadFile for what is no seed."""
    try:
        return bytes(nkeys.from_seed(bytearray(seed.strip().encode())).public_key).decode()
    except (nkeys.NkeysError, ValueError) as error:
        raise BadFile(f"the seed of an NKey cannot be read: {error or type(error).__name__}") from error


def inbox_of_file(seed: Path) -> str:
    """As `inbox_of`, from the file of a seed. Raises BadFile."""
    try:
        return inbox_of(public_of(seed.read_text(encoding="ascii")))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{seed}: the seed of an NKey cannot be read: {error}") from error
