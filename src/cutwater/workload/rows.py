"""Rows of CSV files with their lines, read some at a time, so that a typo is reported where it stands."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from cutwater.errors import BadFile
from cutwater.workload.arrivals import Times

_CHUNK = 1 << 16
"""Rows that are looked at together."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, and the lines where they end."""

    file: str
    lines: list[int]
    rows: list[list[str]]

    def numbers(self, column: int, name: str) -> Times:
        """A column. Raises BadFile with the line of what is no number."""
        return np.array(
            [self._number(line, row[column], name) for line, row in zip(self.lines, self.rows, strict=True)]
        )

    def _number(self, line: int, text: str, name: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise BadFile(f"{self.file}:{line}: {name}: {text!r} is not a number") from None

    def moments(self, column: int, name: str) -> NDArray[np.datetime64]:
        """A column of dates with times, in UTC. Raises BadFile with the line of what is none."""
        texts = [row[column].removesuffix("Z").removesuffix("+00:00") for row in self.rows]
        try:
            found = np.array(texts, dtype="datetime64[ns]")
        except ValueError:
            found = np.array([self._moment(*each, name) for each in zip(self.lines, texts, strict=True)])
        if np.isnat(found).any():
            line = self.lines[int(np.isnat(found).argmax())]
            raise BadFile(f"{self.file}:{line}: {name}: is no time")
        return found

    def _moment(self, line: int, text: str, name: str) -> np.datetime64:
        try:
            return np.datetime64(text, "ns")
        except ValueError:
            form = "2023-11-16 18:15:46.680590"
            raise BadFile(f"{self.file}:{line}: {name}: {text!r} is no time of the form {form}") from None


class Rows:
    """The rows of a file, some at a time; the first says what the columns are called."""

    def __init__(self, path: Path, file: TextIO) -> None:
        """Raises BadFile where there is no header."""
        self.file = str(path)
        self._reader = csv.reader(file)
        self.header = [name.strip() for name in self._row()]
        if not self.header:
            raise BadFile(f"{path}: is empty")

    def chunks(self, least: int) -> Iterator[Chunk]:
        """The rows that hold something, each with ``least`` columns. Raises BadFile for one with fewer."""
        lines: list[int] = []
        rows: list[list[str]] = []
        while row := self._row():
            if len(row) < least:
                raise BadFile(f"{self.file}:{self._reader.line_num}: has {len(row)} columns, fewer than {least}")
            lines.append(self._reader.line_num)
            rows.append(row)
            if len(rows) == _CHUNK:
                yield Chunk(self.file, lines, rows)
                lines, rows = [], []
        yield Chunk(self.file, lines, rows)

    def _row(self) -> list[str]:
        """The next one that is not blank; none at the end."""
        try:
            return next((row for row in self._reader if row), [])
        except csv.Error as error:
            raise BadFile(f"{self.file}:{self._reader.line_num}: not CSV: {error}") from error
