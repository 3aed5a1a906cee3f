"""Workloads as files: YAML or TOML that people write, checked on the way in; the fields are those of the types.

duration: 10 min
seed: 7
models:
  resnet50:
    arrivals: {kind: gamma, rate: 20/s, cv: 3}
    slo: 250 ms                                # optional
  bert: {}                                     # has its share in a mix only
mixes:
  office:
    arrivals: {kind: poisson, rate: 1200/min}
    shares: {resnet50: 20, bert: 80}
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import yaml

from cutwater.errors import BadFile, BadQuantity, InputError, did_you_mean
from cutwater.plan.reading import Place, read_yaml
from cutwater.units import check_name, parse_rate, parse_seconds
from cutwater.workload.arrivals import KINDS, Arrivals, Replay, kind_of
from cutwater.workload.limits import Limits, hints, limits_of
from cutwater.workload.recordings import load_schedule
from cutwater.workload.schedule import Schedule
from cutwater.workload.toml import read_toml
from cutwater.workload.workload import Workload, make

DESCRIPTIONS = (".yaml", ".yml", ".toml")
"""How files end that describe a workload; others hold arrivals."""


def load_workload(path: Path) -> Workload:
    """The workload a file describes (its form stands at the top of this file; a replay's file lies relative to it).

    Raises:
        BadFile: With file, line and field, for anything missing, unknown, double, or out of its range.
    """
    root = read_toml(path) if path.suffix == ".toml" else read_yaml(path)
    workload: Workload = Reader(path.parent).struct(root, Workload)
    models = root.entries()["models"].entries()
    for model, place in models.items():
        try:
            check_name("model", model)
        except InputError as error:
            place.bad(str(error))
    return workload


def save_workload(workload: Workload, path: Path) -> None:
    """Write ``workload`` as YAML so that `load_workload` gives an equal one.

    The file of a replay is named as it was where the workload was read.

    Raises:
        BadFile: It cannot be written, or a replay was not read from a file, or a model has a name that cannot be read.
    """
    for model in workload.models:
        try:
            check_name("model", model)
        except InputError as error:
            lay = "`cutwater workload convert --stripe A,B` deals streams out to models"
            raise BadFile(f"{path}: models.{model}: {error}; {lay}") from error
    plain = _without_recordings(path, msgspec.to_builtins(workload, enc_hook=lambda recorded: None))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def _without_recordings(path: Path, plain: Any) -> Any:
    if isinstance(plain, list):
        return [_without_recordings(path, each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    replay = plain.get("kind") == kind_of(Replay)
    if replay and "file" not in plain:
        raise BadFile(
            f"{path}: a replay can be described only if it was read from a file: save its arrivals, read them"
        )
    hidden = _HIDDEN[Replay] if replay else ()
    return {name: _without_recordings(path, each) for name, each in plain.items() if name not in hidden}


def open_schedule(path: Path, *, seed: int | None = None) -> Schedule:
    """What comes, from a description (drawn; ``seed`` instead of its own) or from a recording. Raises BadFile."""
    if path.suffix not in DESCRIPTIONS:
        return load_schedule(path, seed=seed or 0)
    workload = load_workload(path)
    return make(workload if seed is None else msgspec.structs.replace(workload, seed=seed))


_HIDDEN: Mapping[type, tuple[str, ...]] = {Replay: ("times", "length")}
"""What a description has that its file has not: it is read from another one."""
_EXAMPLES: Mapping[object, str] = {parse_rate: "a rate, such as 20/s", parse_seconds: "a duration, such as 2 s"}


class Reader:
    """Makes the types of a description from places in a file, by the types' own declarations."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recording = cache(load_schedule)

    def struct(self, place: Place, form: type[msgspec.Struct], *besides: str) -> Any:
        """A description; ``besides`` are fields that say which it is."""
        known = {name: hint for name, hint in hints(form).items() if name not in _HIDDEN.get(form, ())}
        given = place.fields((*besides, *known))
        for field in msgspec.structs.fields(form):
            if field.required and field.name in known and field.name not in given:
                place.bad(f"needs the field {field.name!r}")
        values = {name: self._value(given[name], hint) for name, hint in known.items() if name in given}
        if form is Replay:
            values |= self._recorded(place, given)
        try:
            return form(**values)
        except BadQuantity as error:
            path, _, problem = str(error).partition(": ")
            _inside(place, path).bad(problem)

    def _value(self, place: Place, hint: Any) -> Any:
        if (limits := limits_of(hint)) is not None:
            return _number(place, limits)
        origin, inner = get_origin(hint), get_args(hint)
        if origin is tuple:
            return tuple(self._value(each, inner[0]) for each in place.items())
        if origin is dict:
            return {name: self._value(each, inner[1]) for name, each in place.entries().items()}
        if Replay in inner:
            return self._arrivals(place)
        if inner:  # of a type or None
            return self._value(place, inner[0])
        if issubclass(hint, msgspec.Struct):
            return self.struct(place, hint)
        if hint is bool:
            return place.flag()
        return place.text() if hint is str else _whole(place)

    def _arrivals(self, place: Place) -> Arrivals:
        entries = place.entries()
        if "kind" not in entries:
            place.bad(f"needs the field 'kind', one of {', '.join(KINDS)}")
        kind = entries["kind"].text()
        if kind not in KINDS:
            entries["kind"].bad(f"there are no arrivals of kind {kind!r}{did_you_mean(kind, KINDS)}")
        made: Arrivals = self.struct(place, KINDS[kind], "kind")
        return made

    def _recorded(self, place: Place, given: Mapping[str, Place]) -> dict[str, Any]:
        if "file" not in given:
            place.bad("needs the field 'file', where the recording is")
        recording = self._recording(self._folder / given["file"].text())
        names = list(recording.times)
        if "model" not in given and len(names) > 1:
            place.bad(f"needs the field 'model', one of the {len(names)} in that file, such as {names[0]!r}")
        model = given["model"].text() if "model" in given else names[0]
        if model not in names:
            given["model"].bad(f"there is no model {model!r} in that file{did_you_mean(model, names)}")
        return {"times": recording.times[model], "length": recording.duration}


def _number(place: Place, limits: Limits) -> float:
    value = place.value()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        place.bad(f"expected {_EXAMPLES.get(limits.parse, 'a number')}, not {value!r}")
    if isinstance(value, str) and value.startswith("-"):
        place.bad(f"{value} is negative")
    try:
        return float(limits.parse(value))
    except BadQuantity as error:
        place.bad(str(error))


def _whole(place: Place) -> int:
    value = place.value()
    if isinstance(value, bool) or not isinstance(value, int):
        place.bad(f"expected a whole number, not {value!r}")
    return value


def _inside(place: Place, path: str) -> Place:
    """The place of ``"states[1].stay"`` inside another one, or as far as the file goes that way."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(place.node, yaml.SequenceNode) and step.isdecimal():
            place = list(place.items())[int(step)]
        elif isinstance(place.node, yaml.MappingNode) and step in place.entries():
            place = place.entries()[step]
        else:
            break
    return place
