"""Field: one setting as files, environment, flags and documentation need it; all derived from the declaration."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from cutwater.settings.kinds import Kind
from cutwater.settings.settings import Settings

PREFIX = "CUTWATER_"


@dataclass(frozen=True)
class Field:
    """One setting."""

    path: str
    """``"node.memory"``; as in files."""
    kind: Kind
    optional: bool
    """Whether None is a value."""
    default: object
    doc: str

    @property
    def variable(self) -> str:
        """``"CUTWATER_NODE_MEMORY"``."""
        return PREFIX + self.path.upper().replace(".", "_")

    @property
    def section(self) -> str:
        """``"node"``; empty for those that stand alone."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """``"memory"``."""
        return self.path.rpartition(".")[2]

    def read(self, value: object) -> object:
        """What ``value`` means. Raises BadQuantity."""
        if value is None and self.optional:
            return None
        return self.kind.read(value)

    def write(self, value: object) -> str:
        """As a person would write it; empty for None."""
        return "" if value is None else self.kind.write(value)


@lru_cache(maxsize=1)
def fields() -> dict[str, Field]:
    """Every setting by its path, in the order of the declaration."""
    return {field.path: field for field in _fields(Settings, "")}


@lru_cache(maxsize=1)
def sections() -> dict[str, type[msgspec.Struct]]:
    """Every section by its name."""
    hints = get_type_hints(Settings)
    return {name: hint for name, hint in hints.items() if _is_section(hint)}


def _is_section(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _fields(declared: type[msgspec.Struct], prefix: str) -> Iterator[Field]:
    docs = docs_of(declared)
    hints = get_type_hints(declared, include_extras=True)
    for info in msgspec.structs.fields(declared):
        hint = hints[info.name]
        if _is_section(hint):
            yield from _fields(hint, info.name + ".")
        else:
            kind, optional = _kind(hint)
            yield Field(prefix + info.name, kind, optional, info.default, docs.get(info.name, ""))


def _kind(hint: Any) -> tuple[Kind, bool]:
    """The kind in ``Annotated[..., kind]`` or ``Annotated[..., kind] | None``."""
    found = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Kind)]
    if found:
        return found[0], False
    inner = [each for each in get_args(hint) if each is not NoneType]
    return _kind(inner[0])[0], True


def docs_of(declared: type) -> dict[str, str]:
    """The docstring below each field, from the source; empty where that is not installed."""
    try:
        source = textwrap.dedent(inspect.getsource(declared))
    except OSError:
        return {}
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as doc)):
                found[name] = inspect.cleandoc(doc)
    return found
