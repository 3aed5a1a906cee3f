"""Cutwater: cut a neural network at the best places and run it across the machines you have."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {"AsyncClient": "cutwater.client.asynchronous", "Client": "cutwater.client.blocking"}


def __getattr__(name: str) -> Any:
    """Clients are loaded when they are first used: most processes of a cluster need none."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'cutwater' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
