"""Reads YAML with a place for every value, so that a typo is reported with its file, line and field."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from cutwater.errors import BadFile, BadQuantity, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """One value of a YAML file that knows where it stands."""

    file: str
    field: str
    """Dotted path from the top: ``nodes[1].memory``; empty for the whole document."""
    node: yaml.Node

    def bad(self, message: str) -> NoReturn:
        """Raise BadFile naming file, line and field."""
        line = self.node.start_mark.line + 1
        raise BadFile(f"{self.file}:{line}: {self.field + ': ' if self.field else ''}{message}")

    def fields(self, known: Iterable[str]) -> dict[str, "Place"]:
        """The entries of a mapping, whose keys must be among ``known``. Raises BadFile."""
        known = tuple(known)
        entries = self.entries()
        for key, place in entries.items():
            if key not in known:
                place.bad(f"unknown field{did_you_mean(key, known)}")
        return entries

    def entries(self) -> dict[str, "Place"]:
        """The entries of a mapping with any keys, each at most once. Raises BadFile."""
        if not isinstance(self.node, yaml.MappingNode):
            self.bad("expected fields, one 'name: value' per line")
        found: dict[str, Place] = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.bad("a field's name must be plain text")
            name = str(key.value)
            if name in found:
                found[name].bad("stands here twice")
            found[name] = Place(self.file, f"{self.field}.{name}" if self.field else name, value)
        return found

    def items(self) -> Iterator["Place"]:
        """The elements of a list. Raises BadFile."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.bad("expected a list")
        for position, element in enumerate(self.node.value):
            yield Place(self.file, f"{self.field}[{position}]", element)

    def value(self) -> str | int | float | bool | None:
        """The plain value. Raises BadFile for a list or a mapping."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.bad("expected one value")
        loader = yaml.SafeLoader("")
        try:
            result: str | int | float | bool | None = loader.construct_object(self.node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # as by a tag, or in a 13th month
            self.bad(f"{self.node.value!r:.60} cannot be read: {getattr(error, 'problem', None) or error}")
        finally:
            loader.dispose()
        return result

    def text(self) -> str:
        """The value as text. Raises BadFile where it is missing."""
        value = self.value()
        if value is None or value == "":
            self.bad("must not be empty")
        return str(value)

    def quantity(self, parse: Callable[[str | int | float], T], *, positive: bool = True) -> T:
        """A number with a unit, not negative (and not zero if ``positive``). Raises BadFile."""
        value = self.value()
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.bad(f"expected a number, not {value!r}")
        text = str(value)
        if text.startswith("-"):
            self.bad(f"{text} is negative")
        try:
            number = parse(value)
        except (BadQuantity, ValueError) as error:
            self.bad(str(error))
        if not number < float("inf") or (positive and not number > 0):  # type: ignore[operator]
            self.bad(f"{text} must be {'above zero' if positive else 'a finite number'}")
        return number

    def count(self) -> int:
        """A whole number of at least one. Raises BadFile."""
        value = self.value()
        if isinstance(value, bool) or not isinstance(value, int):
            self.bad(f"expected a whole number, not {value!r}")
        if value < 1:
            self.bad(f"{value} must be at least 1")
        return value

    def flag(self) -> bool:
        """``true`` or ``false``. Raises BadFile."""
        value = self.value()
        if not isinstance(value, bool):
            self.bad(f"expected true or false, not {value!r}")
        return value


def read_yaml(path: Path) -> Place:
    """The document in ``path``. Raises BadFile where it is missing, not YAML, or empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadFile(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadFile(f"{path}: not YAML: {error}") from error
    if root is None:
        raise BadFile(f"{path}: is empty")
    return Place(str(path), "", root)
