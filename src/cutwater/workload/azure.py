"""The public traces of Azure: their columns, and what their rows mean.

Descriptions: github.com/Azure/AzurePublicDataset (AzureFunctionsDataset2019.md, AzureFunctionsInvocationTrace2021.md,
AzureLLMInferenceDataset2023.md and 2024.md). The data is not part of this project.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadFile
from cutwater.units import Seconds
from cutwater.workload.arrivals import Times
from cutwater.workload.draw import MOST
from cutwater.workload.limits import LONGEST
from cutwater.workload.rows import Rows
from cutwater.workload.workload import stream

Read = Callable[[Rows, int], tuple[dict[str, Times], Seconds | None]]
"""(rows, seed) -> streams by name, and the recording's length where the layout says it."""


class Layout(NamedTuple):
    """A trace is known by its first columns."""

    columns: tuple[str, ...]
    read: Read


def _llm(rows: Rows, seed: int) -> tuple[dict[str, Times], None]:
    """Calls of one service; time begins with the first."""
    parts = [chunk.moments(0, rows.header[0]) for chunk in rows.chunks(least=1)]
    moments = np.sort(np.concatenate(parts)) if parts else np.empty(0, "datetime64[ns]")
    since = (moments - moments[:1]) / np.timedelta64(1, "s") if len(moments) else np.empty(0)
    if len(since) and since[-1] > LONGEST:
        column = rows.header[0]
        raise BadFile(f"{rows.file}: {column}: from {moments[0]} to {moments[-1]} is more than a year; mend the dates")
    return {"requests": since}, None


def _functions_2021(rows: Rows, seed: int) -> tuple[dict[str, Times], None]:
    """One row a call. It is told when calls ended: they came their duration before that, the first ones at 0."""
    functions: dict[str, int] = {}
    begins: list[Times] = []
    owners: list[NDArray[np.intp]] = []
    for chunk in rows.chunks(least=4):
        took = chunk.numbers(3, rows.header[3])
        for line, seconds in zip(chunk.lines, took.tolist(), strict=True):
            if seconds < 0:
                raise BadFile(f"{rows.file}:{line}: {rows.header[3]}: {seconds:g} is negative")
        begins.append(chunk.numbers(2, rows.header[2]) - took)
        names = [f"{row[0]}/{row[1]}" for row in chunk.rows]
        owners.append(np.array([functions.setdefault(name, len(functions)) for name in names], dtype=np.intp))
        for line, begin in zip(chunk.lines, begins[-1].tolist(), strict=True):
            if not abs(begin) <= LONGEST:
                raise BadFile(f"{rows.file}:{line}: {rows.header[2]}: {begin} is no time of a trace of two weeks")
    every = np.maximum(np.concatenate([np.empty(0), *begins]), 0.0)
    owner = np.concatenate([np.empty(0, dtype=np.intp), *owners])
    order = np.lexsort((every, owner))
    bounds = np.cumsum(np.bincount(owner, minlength=len(functions)))[:-1]
    return dict(zip(functions, np.split(every[order], bounds), strict=True)), None


def _functions_2019(rows: Rows, seed: int) -> tuple[dict[str, Times], Seconds]:
    """One row a function, with its calls in each minute; they are laid into their minute at random."""
    minutes = rows.header[4:]
    if minutes != [str(k + 1) for k in range(len(minutes))]:
        raise BadFile(f"{rows.file}:1: the columns after {rows.header[3]!r} must be the minutes, from 1 up")
    found: dict[str, Times] = {}
    total = 0
    for chunk in rows.chunks(least=len(rows.header)):
        for line, row in zip(chunk.lines, chunk.rows, strict=True):
            if len(row) != len(rows.header):
                raise BadFile(f"{rows.file}:{line}: has {len(row)} columns; the first line has {len(rows.header)}")
            name = "/".join(row[:3])
            if name in found:
                raise BadFile(f"{rows.file}:{line}: {rows.header[2]}: function {row[2][:16]!r} stands here twice")
            counts = _counts(rows.file, line, row[4:])
            total += int(counts.sum())
            if total > MOST:
                raise BadFile(f"{rows.file}:{line}: {total:,} calls up to here are more than {MOST:,}; take a part")
            begins = np.repeat(np.arange(len(minutes)) * 60.0, counts)
            found[name] = np.sort(begins + 60.0 * stream(seed, name).random(len(begins)))
    return found, 60.0 * len(minutes)


def _counts(file: str, line: int, texts: Sequence[str]) -> NDArray[np.int64]:
    for minute, text in enumerate(texts, 1):
        if not text.isdecimal():
            raise BadFile(f"{file}:{line}: {minute}: {text!r} is no number of calls")
        if len(text) > len(str(MOST)):  # also more digits than a number is read of
            raise BadFile(f"{file}:{line}: {minute}: {text:.20} calls in a minute are more than {MOST:,}")
    return np.array(texts, dtype=np.int64)


AZURE = (
    Layout(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _llm),
    Layout(("app", "func", "end_timestamp", "duration"), _functions_2021),
    Layout(("HashOwner", "HashApp", "HashFunction", "Trigger"), _functions_2019),
)
