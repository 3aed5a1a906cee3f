"""Subjects, keys and patterns: words joined by dots."""

import re

from cutwater.errors import BadBlob, FabricError

_NAME = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_HASH = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r"[A-Za-z0-9_-]+")


def check_name(name: str) -> None:
    """Refuse what is not words joined by dots: no wildcard, no empty word, no space. Raises FabricError."""
    if not _NAME.fullmatch(name):
        raise FabricError(f"{name!r} is no subject or key; write words joined by dots, without spaces, * and >")


def check_label(name: str) -> None:
    """Refuse what cannot name a bucket or a queue: one word of letters, digits, - and _. Raises FabricError."""
    if not _LABEL.fullmatch(name):
        raise FabricError(f"{name!r} cannot name a bucket or a queue; use letters, digits, - and _")


def check_hash(hash: str) -> None:
    """Refuse what is not a sha256 in lower-case hex. Raises BadBlob."""
    if not _HASH.fullmatch(hash):
        raise BadBlob(f"{hash!r} is no sha256; a blob is known by 64 lower-case hex digits")


def matches(pattern: str, name: str) -> bool:
    """Whether ``pattern`` (``*``: one word, ``>`` at the end: one word or more) covers ``name``."""
    wanted, words = pattern.split("."), name.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(w in ("*", word) for w, word in zip(wanted, words, strict=True))
