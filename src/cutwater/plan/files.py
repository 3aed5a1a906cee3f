"""Plans as files: readable YAML, checked on the way in."""

from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import yaml

from cutwater.errors import BadFile
from cutwater.plan.plan import Plan
from cutwater.plan.reading import Place, read_yaml


def save_plan(plan: Plan, path: Path) -> None:
    """Write ``plan`` so that `load_plan` gives an equal one. Raises BadFile where the file cannot be written."""
    text = yaml.safe_dump(msgspec.to_builtins(plan), sort_keys=False, allow_unicode=True, width=120)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def load_plan(path: Path) -> Plan:
    """The plan in ``path``. Raises BadFile with file, line and field."""
    root = read_yaml(path)
    _check(root, Plan)
    try:
        plan = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Plan)
    except msgspec.ValidationError as error:
        raise BadFile(f"{path}: {error}") from error
    if not plan.stages:
        root.bad("a plan has at least one stage")
    if len(plan.codecs) != len(plan.stages) + 1:
        root.bad(f"{len(plan.stages)} stages need {len(plan.stages) + 1} codecs, not {len(plan.codecs)}")
    for stage, after in zip(plan.stages, plan.stages[1:], strict=False):
        if stage.end.before != after.begin.before:
            root.bad(f"the stage that ends at {stage.end.label!r} is followed by one from {after.begin.label!r}")
    return plan


def _check(place: Place, form: Any) -> None:
    """Find unknown and missing fields, which the conversion would pass over or report without a line."""
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        known = {field.encode_name: field for field in msgspec.structs.fields(form)}
        given = place.fields(known)
        for name, field in known.items():
            if name in given:
                _check(given[name], field.type)
            elif field.required:
                place.bad(f"needs the field {name!r}")
    elif get_origin(form) is tuple:
        for item in place.items():
            _check(item, get_args(form)[0])
