"""Recordings: arrivals as files, ours and the public traces', known by their columns.

    model,timestamp                               ours, CSV: seconds from the start, ascending for each model; without a
                                                  column `model` all are of one, called like the file
    {"model0": [[0.5, ...]], ...}                 ours, JSON: one stream or several for each model
    TIMESTAMP,ContextTokens,GeneratedTokens       Azure LLM inference traces of 2023 and 2024
    app,func,end_timestamp,duration               Azure Functions invocation trace of 2021
    HashOwner,HashApp,HashFunction,Trigger,1,...  Azure Functions trace of 2019: calls per minute

A recording ends with the whole second in which its last request comes, that of 2019 with its last minute.
"""

import csv
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cutwater.errors import BadFile
from cutwater.units import Seconds
from cutwater.workload.arrivals import Times, first_wrong
from cutwater.workload.azure import AZURE
from cutwater.workload.rows import Rows
from cutwater.workload.schedule import Schedule

_KEY = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:')
"""Of a model, in a document whose values are numbers in lists."""


def load_schedule(path: Path, *, seed: int = 0) -> Schedule:
    """The arrivals in a file.

    Args:
        path: JSON if it ends in ``.json``, CSV otherwise.
        seed: for layouts that do not say at which moment of a minute requests came.

    Raises:
        BadFile: With file, line and field: what is no time, is negative, or comes before what stands before it; a file
            of another layout; one without any request.
    """
    try:
        times, length = _json(path) if path.suffix == ".json" else _csv(path, seed)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    last = max((float(each[-1]) for each in times.values() if len(each)), default=None)
    if last is None:
        raise BadFile(f"{path}: holds no request")
    return Schedule(times, length or float(np.floor(last)) + 1.0)


def save_schedule(schedule: Schedule, path: Path) -> None:
    """Write arrivals so that `load_schedule` gives the same times: JSON or CSV, as ``path`` ends.

    Raises:
        BadFile: It ends otherwise, or cannot be written.
    """
    if path.suffix == ".json":
        lines = [f"{json.dumps(model)}: [{json.dumps(times.tolist())}]" for model, times in schedule.times.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
    elif path.suffix == ".csv":
        written = StringIO()
        csv.writer(written, lineterminator="\n").writerows([("model", "timestamp"), *((m, due) for due, m in schedule)])
        text = written.getvalue()
    else:
        raise BadFile(f"{path}: arrivals are written as .json or .csv")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def _csv(path: Path, seed: int) -> tuple[dict[str, Times], Seconds | None]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = Rows(path, file)
        for layout in AZURE:
            if rows.header[: len(layout.columns)] == list(layout.columns):
                return layout.read(rows, seed)
        if "timestamp" not in rows.header:
            known = "; ".join(["model,timestamp", *(",".join(layout.columns) for layout in AZURE)])
            raise BadFile(f"{path}:1: the columns {','.join(rows.header)[:80]} are none that are known: {known}")
        return _own(rows, path.stem), None


def _own(rows: Rows, name: str) -> dict[str, Times]:
    at, who = rows.header.index("timestamp"), rows.header.index("model") if "model" in rows.header else None
    moments: list[Times] = []
    owners: list[np.typing.NDArray[np.intp]] = []
    lines: list[np.typing.NDArray[np.intp]] = []
    models: dict[str, int] = {}
    for chunk in rows.chunks(least=max(at, who or 0) + 1):
        moments.append(chunk.numbers(at, "timestamp"))
        names = [name] * len(chunk.rows) if who is None else [row[who] for row in chunk.rows]
        owners.append(np.array([models.setdefault(each, len(models)) for each in names], dtype=np.intp))
        lines.append(np.array(chunk.lines))
    every, owner, line = (np.concatenate(parts) if parts else np.empty(0) for parts in (moments, owners, lines))
    found: dict[str, Times] = {}
    for model, number in models.items():
        mine = owner == number
        found[model] = every[mine]
        if (wrong := first_wrong(found[model])) is not None:
            raise BadFile(f"{rows.file}:{line[mine][wrong[0]]}: timestamp: {wrong[1]}")
    return found


def _json(path: Path) -> tuple[dict[str, Times], None]:
    data = path.read_bytes()
    try:
        document = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        byte = re.search(r"byte (\d+)", str(error))
        line = data[: int(byte[1])].count(b"\n") + 1 if byte else data.count(b"\n") + 1
        raise BadFile(f"{path}:{line}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadFile(f'{path}:1: expected models with their times, such as {{"resnet50": [[0.5, 1.2]]}}')
    found: dict[str, Times] = {}
    for model, streams in document.items():
        nested = streams if _is_nested(streams) else [streams]
        parts = [_times(path, data, model, nested, k, streams is nested) for k in range(len(nested))]
        found[model] = np.sort(np.concatenate([np.empty(0), *parts]))
    _check_unique(path, data)
    return found, None


def _check_unique(path: Path, data: bytes) -> None:
    """Raise BadFile for a model that is there twice, of which a reader of JSON knows the last one only."""
    seen: set[str] = set()
    for key in _KEY.finditer(data):
        model = json.loads(key[1])
        if model in seen:
            line = data.count(b"\n", 0, key.start()) + 1
            raise BadFile(f"{path}:{line}: {model}: stands here twice")
        seen.add(model)


def _is_nested(streams: object) -> bool:
    return isinstance(streams, list) and bool(streams) and all(isinstance(each, list) for each in streams)


def _times(path: Path, data: bytes, model: str, nested: list[Any], k: int, named: bool) -> Times:
    """One stream, checked; ``named``: it has a number of its own in the file."""
    field = f"{model}[{k}]" if named else model
    stream = nested[k]
    before = sum(len(each) for each in nested[:k])
    if not isinstance(stream, list):
        raise BadFile(f"{path}:{_line(data, model, 0)}: {field}: expected a list of times, not {stream!r:.60}")
    for position, value in enumerate(stream):
        if isinstance(value, bool) or not isinstance(value, int | float):
            line = _line(data, model, before + position)
            raise BadFile(f"{path}:{line}: {field}[{position}]: {value!r:.60} is no time; write seconds, such as 0.5")
    try:
        times = np.array(stream, dtype=np.float64)
    except OverflowError as error:
        line = _line(data, model, before)
        raise BadFile(f"{path}:{line}: {field}: a time has too many digits; write seconds, such as 0.5") from error
    if (wrong := first_wrong(times)) is not None:
        raise BadFile(f"{path}:{_line(data, model, before + wrong[0])}: {field}[{wrong[0]}]: {wrong[1]}")
    return times


def _line(data: bytes, model: str, position: int) -> int:
    """Where the value of a model stands that is so many after its first."""
    key = re.search(re.escape(json.dumps(model, ensure_ascii=False).encode()) + rb"\s*:", data)
    end = key.end() if key else 0
    for _ in range(position + 1):
        value = re.compile(rb"[^\s,\[\]]+").search(data, end)
        end = value.end() if value else end
    return data[:end].count(b"\n") + 1
