"""Record: a log as a file: CSV for spreadsheets, or a trace, lines of JSON that say under which conditions it was made.

The trace's first line is an object with the conditions; each other one is a request: [model, due, sent, ended, result,
kind of error, the gateway's name for it], seconds since the load began, null for what has not happened.
"""

import csv
import math
from pathlib import Path
from typing import Any

import msgspec

from cutwater.errors import BadFile
from cutwater.lab.load.log import Log, Request
from cutwater.units import Seconds

COLUMNS = ("model", "due", "sent", "ended", "latency", "result", "error", "counted")


def write_csv(log: Log, path: Path, warmup: Seconds = 0.0) -> None:
    """One line per request that was due; those of the warm-up are not ``counted``. Raises BadFile."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for each in log:
                times = (_text(at) for at in (each.due, each.sent, each.ended, each.latency))
                writer.writerow((each.model, *times, each.result, each.kind, int(each.due >= warmup)))
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def write_trace(log: Log, path: Path, warmup: Seconds = 0.0) -> None:
    """See the top of this file. Raises BadFile."""
    encode = msgspec.json.Encoder().encode
    conditions = {
        "columns": ["model", "due", "sent", "ended", "result", "error", "request"],
        "duration": log.duration,
        "warmup": warmup,
        "slos": log.slos,
        "scheduled": len(log),
        "interrupted": log.interrupted,
    }
    try:
        with path.open("wb") as file:
            file.write(encode(conditions) + b"\n")
            for each in log:
                file.write(encode(_row(each)) + b"\n")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from error


def _row(each: Request) -> tuple[Any, ...]:
    times = (None if math.isnan(at) else at for at in (each.due, each.sent, each.ended))
    return (each.model, *times, each.result, each.kind, each.request)


def _text(at: Seconds) -> str:
    """All digits, so that figures made of them are the same."""
    return "" if math.isnan(at) else repr(at)
