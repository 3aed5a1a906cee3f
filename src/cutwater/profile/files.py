"""Profiles as files: YAML that people can read, and errors that name the line."""

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cutwater.errors import BadFile
from cutwater.profile.profile import Profile, Sample

_DIGITS = 6
"""Significant digits kept; no measurement is better."""


def save_profile(profile: Profile, path: str | Path) -> None:
    """Write a profile as YAML, one line per op. Raises BadFile where the file cannot be written."""
    text = yaml.dump(_rounded(msgspec.to_builtins(profile)), sort_keys=False, default_flow_style=None, width=160)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def load_profile(path: str | Path) -> Profile:
    """Read a profile that `save_profile` wrote or a person edited.

    Raises:
        BadFile: No such file, not YAML, a missing, unknown or wrong field; names the file, the line and the field.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not a text file") from error
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise BadFile(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    try:
        profile = msgspec.convert(content, Profile)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        field = _exact(where.strip("`").removeprefix("$").removeprefix("."), content)
        raise BadFile(f"{path}:{_line(tree, field)}: {field or 'the profile'}: {what}") from error
    _check_numbers(profile, path)
    return profile


def _check_numbers(profile: Profile, path: str | Path) -> None:
    for name, sample in (*profile.ops.items(), ("whole", profile.whole)):
        if not (isfinite(sample.median) and sample.median >= 0):
            raise BadFile(f"{path}: {name}: {sample.median} is no time; write seconds, 0 or more")
    if not (isfinite(profile.contention) and profile.contention > 0):
        raise BadFile(f"{path}: contention: {profile.contention} is no ratio; write a number above 0")


def _exact(field: str, content: Any) -> str:
    """``"ops[...].median"`` -> ``"ops.Conv_3.median"``: the validator does not say which key of a mapping is wrong."""
    head, dots, rest = field.partition("[...]")
    if not dots:
        return field
    kind: Any = Sample if head == "ops" else str
    mapping = content["conditions"]["versions"] if head == "conditions.versions" else content.get(head, {})
    return next((f"{head}.{key}{rest}" for key, value in mapping.items() if not _fits(value, kind)), field)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _line(tree: yaml.Node | None, field: str) -> int:
    """The line, from 1, on which the deepest part of ``field`` that exists stands."""
    if tree is None:
        return 1
    node, line = tree, tree.start_mark.line
    rest = field
    while rest:
        found = _child(node, rest)
        if found is None:
            break
        node, rest = found
        line = node.start_mark.line
    return line + 1


def _child(node: yaml.Node, field: str) -> tuple[yaml.Node, str] | None:
    """The node the first step of ``field`` leads to, and the other steps; keys may themselves contain dots."""
    if isinstance(node, yaml.SequenceNode) and (match := re.match(r"\[(\d+)\]\.?", field)):
        return node.value[int(match[1])], field[match.end() :]
    if isinstance(node, yaml.MappingNode):
        fitting = [
            (key.value, value) for key, value in node.value if re.match(re.escape(key.value) + r"(\.|\[|$)", field)
        ]
        if fitting:
            name, value = max(fitting, key=lambda pair: len(pair[0]))
            return value, field[len(name) :].removeprefix(".")
    return None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
