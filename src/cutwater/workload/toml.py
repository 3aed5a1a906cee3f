"""Reads TOML with a place for every value, as for YAML, though the standard library's reader keeps no lines."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import yaml

from cutwater.errors import BadFile
from cutwater.plan.reading import Place

_TABLE = re.compile(r"\s*(\[\[?)([^\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_TAG = "tag:yaml.org,2002:"
_TYPES = {bool: "bool", int: "int", float: "float", str: "str"}


def read_toml(path: Path) -> Place:
    """The document in ``path``. Raises BadFile where it cannot be read, is not TOML, or is empty."""
    try:
        text = path.read_text(encoding="utf-8")
        top = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise BadFile(f"{path}{':' + found[1] if found else ''}: not TOML: {error}") from error
    if not top:
        raise BadFile(f"{path}: is empty")
    return Place(str(path), "", _node(top, "", 1, _lines(text)))


def _lines(text: str) -> dict[str, int]:
    """Line of each table and each key, by path: ``"models.bert.slo"``, ``"steps[1].at"``."""
    lines: dict[str, int] = {}
    tables: Counter[str] = Counter()
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _path(found[2])
            if found[1] == "[[":
                tables[table] += 1
                table = f"{table}[{tables[table] - 1}]"
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            lines.setdefault(f"{table}.{_path(found[1])}".lstrip("."), number)
    return lines


def _path(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))


def _node(value: object, path: str, line: int, lines: Mapping[str, int]) -> yaml.Node:
    """The YAML of a value; what has no line of its own stands where that stands which holds it."""
    line = lines.get(path, line)
    mark = yaml.Mark("", 0, line - 1, 0, None, 0)
    if isinstance(value, dict):
        entries = [
            (yaml.ScalarNode(f"{_TAG}str", name, mark), _node(each, f"{path}.{name}".lstrip("."), line, lines))
            for name, each in value.items()
        ]
        return yaml.MappingNode(f"{_TAG}map", entries, mark)
    if isinstance(value, list):
        items = [_node(each, f"{path}[{k}]", line, lines) for k, each in enumerate(value)]
        return yaml.SequenceNode(f"{_TAG}seq", items, mark)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text) if isinstance(value, float) else text
    return yaml.ScalarNode(_TAG + _TYPES.get(type(value), "str"), text, mark)
