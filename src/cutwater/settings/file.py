"""Reads a settings file, YAML or TOML, with the line of every value, so that a typo is reported where it stands."""

import re
import tomllib
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml

from cutwater.errors import BadQuantity, BadSetting, did_you_mean
from cutwater.settings.fields import fields, sections


class Given(NamedTuple):
    """A value somebody gave, and where."""

    value: object
    origin: str
    """``"cluster.yaml:4"``, ``"environment CUTWATER_NODE_MEMORY"``, ``"flag --memory"``."""


class _Raw(NamedTuple):
    value: object
    line: int


def read_file(path: Path) -> dict[str, Given]:
    """The settings in a file, by path.

    Raises:
        BadSetting: The file cannot be read, is neither YAML nor TOML, or holds something that is no setting, with line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    raw = _toml(path, text) if path.suffix == ".toml" else _yaml(path, text)
    return {name: _given(path, name, each) for name, each in raw.items()}


def _given(path: Path, name: str, raw: _Raw) -> Given:
    known = fields()
    where = f"{path}:{raw.line}"
    if name not in known:
        section, _, last = name.rpartition(".")
        if section in sections():
            near = did_you_mean(last, [field.name for field in known.values() if field.section == section])
        else:
            near = did_you_mean(name.split(".")[0], [*sections(), *(each for each in known if "." not in each)])
        raise BadSetting(f"{where}: there is no setting {name!r}{near}")
    try:
        return Given(known[name].read(raw.value), where)
    except BadQuantity as error:
        raise BadSetting(f"{where}: {name}: {error}") from error


def _yaml(path: Path, text: str) -> dict[str, _Raw]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadSetting(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadSetting(f"{path}: not YAML: {error}") from error
    found: dict[str, _Raw] = {}
    if root is not None:
        _walk(path, root, "", found)
    return found


def _walk(path: Path, node: yaml.Node, prefix: str, found: dict[str, _Raw]) -> None:
    if not isinstance(node, yaml.MappingNode):
        _bad(path, node.start_mark.line + 1, prefix.rstrip("."), "expected settings, one 'name: value' per line")
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in found:
            _bad(path, line, name, "stands here twice")
        if name in sections():
            _walk(path, value, name + ".", found)
        else:
            found[name] = _Raw(_plain(value), line)


def _plain(node: yaml.Node) -> object:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _toml(path: Path, text: str) -> dict[str, _Raw]:
    try:
        top = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{path}: not TOML: {error}") from error
    lines = _toml_lines(text)
    found: dict[str, _Raw] = {}
    for name, value in top.items():
        if name in sections() and not isinstance(value, dict):
            _bad(path, lines.get(name, 1), name, f"is a section: begin it with [{name}]")
        for inner, each in value.items() if isinstance(value, dict) else ((None, value),):
            full = name if inner is None else f"{name}.{inner}"
            found[full] = _Raw(each, lines.get(full, lines.get(name, 1)))
    return found


_TABLE = re.compile(r"\s*\[([\w.-]+)\]")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")


def _toml_lines(text: str) -> dict[str, int]:
    """Line by key; the standard library's reader keeps none."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = found[1] + "."
            lines[found[1]] = number
        elif found := _KEY.match(line):
            lines.setdefault(table + found[1], number)
    return lines


def _bad(path: Path, line: int, name: str, message: str) -> NoReturn:
    raise BadSetting(f"{path}:{line}: {name + ': ' if name else ''}{message}")
