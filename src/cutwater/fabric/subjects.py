"""Subjects, keys and patterns: words joined by dots."""

import re

from cutwater.errors import FabricError

_NAME = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_LABEL = re.compile(r"[A-Za-z0-9_-]+")


def check_name(name: str) -> None:
    """Refuse what is not words joined by dots: no wildcard, no empty word, no space. Raises FabricError."""
    if not _NAME.fullmatch(name):
        raise FabricError(f"{name!r} is no subject or key; write words joined by dots, without spaces, * and >")


def check_label(name: str) -> None:
    """Refuse what cannot name a bucket or a queue: one word of letters, digits, - and _. Raises FabricError."""
    if not _LABEL.fullmatch(name):
        raise FabricError(f"{name!r} cannot name a bucket or a queue; use letters, digits, - and _")


def matches(pattern: str, name: str) -> bool:
    """Whether ``pattern`` (``*``: one word, ``>`` at the end: one word or more) covers ``name``."""
    wanted, words = pattern.split("."), name.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(w in ("*", word) for w, word in zip(wanted, words, strict=True))
