"""Results: what a study has found so far, in a folder; a study that was interrupted goes on where it stopped."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec

from cutwater.errors import BadFile
from cutwater.lab.studies.study import Point, Study
from cutwater.services.speed import conditions
from cutwater.units import Seconds
from cutwater.zoo.packages import write_atomically

QUEUES, ENGINE, LIVE, HINDSIGHT = "queues", "engine", "live", "hindsight"
"""How figures come about: reckoned by fast queues; by the real engine in virtual time; measured."""
FILE = "results.json"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one placement at one point."""

    point: Point
    placement: str
    how: str
    shape: str
    """Who runs what, nodes counted from 1; live: as it was asked for."""
    requests: int
    attainment: float
    """Answers in time over all requests."""
    attainment_margin: float = 0.0
    """Half of the 95 % interval, where it was measured."""
    mean: Seconds | None
    """Of the latency of the answers in time; None: there is none."""
    mean_margin: Seconds = 0.0
    p50: Seconds | None = None
    p99: Seconds | None = None
    found: float | None = None
    """What was looked for: requests per second, a coefficient of variation, or a number of nodes."""
    facts: dict[str, float] = {}
    """What else was seen, in seconds or requests per second."""


class Seen(msgspec.Struct, frozen=True):
    """What a whole model took on this study's nodes before its first run; loads and SLOs are in terms of that."""

    seconds: Seconds
    """A node works for one request, everything included; in terms of a whole core."""
    alone: Seconds
    """A request takes that is alone."""


class Results(msgspec.Struct, kw_only=True):
    """Everything found so far."""

    study: Study
    mark: str
    """Hash of all on which figures depend, and of how they come about."""
    live: bool
    conditions: str
    rows: list[Row] = []
    seen: dict[str, Seen] = {}
    """Model -> what was measured live."""

    def of(self, point: Point, placement: str, how: str) -> Row | None:
        """What is known of it."""
        return next((r for r in self.rows if (r.point, r.placement, r.how) == (point, placement, how)), None)

    def hows(self) -> list[str]:
        """The ways in which figures came about, as far as there are any."""
        return [how for how in (QUEUES, ENGINE, LIVE) if any(row.how == how for row in self.rows)]


PROCEDURE = 2
"""How rows come about; what came about otherwise is not gone on with."""


class ResultsFolder:
    """Results on disk, written after each row."""

    def __init__(self, folder: Path, results: Results) -> None:
        self.folder = folder
        self.results = results

    @classmethod
    def open(cls, folder: Path, study: Study, live: bool) -> Self:
        """A new folder, or one in which this study was begun.

        Raises:
            BadFile: The folder holds another study's results, or cannot be written.
        """
        # What is asked of it may change; a row says itself at which point of which sweep it was found.
        same = (
            *(study.models, study.nodes, study.placements, study.workloads),
            *(study.slo, study.seed, study.steps, study.failure, live, PROCEDURE),
        )
        mark = sha256(msgspec.json.encode(same, enc_hook=_plain)).hexdigest()[:16]
        path = folder / FILE
        if path.exists():
            try:
                results = msgspec.json.decode(path.read_bytes(), type=_Kept)
            except (OSError, msgspec.MsgspecError) as error:
                raise BadFile(f"{path}: is no study's results ({error}); name another folder") from error
            if results.mark != mark:
                raise BadFile(f"{path}: holds another study, or one with other values; name another folder")
            rows, seen = results.rows, results.seen
        else:
            rows, seen = [], {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadFile(f"{folder}: cannot be made: {error.strerror}") from error
        return cls(folder, Results(study=study, mark=mark, live=live, conditions=conditions(), rows=rows, seen=seen))

    def add(self, rows: Iterable[Row]) -> None:
        """Keep them."""
        self.results.rows += list(rows)  # all or none, should this be interrupted
        self.write()

    def write(self) -> None:
        """Keep everything."""
        write_atomically(self.folder / FILE, msgspec.json.format(self.encoded(), indent=1))

    def encoded(self) -> bytes:
        """As JSON; recordings that workloads replay are named, not repeated."""
        return msgspec.json.encode(self.results, enc_hook=_plain)


class _Kept(msgspec.Struct):
    """What of a results' file is read again."""

    mark: str
    rows: list[Row]
    seen: dict[str, Seen] = {}


def _plain(recorded: object) -> object:
    """Of a recording's times, which are an array, their hash."""
    return sha256(bytes(memoryview(recorded))).hexdigest()  # type: ignore[arg-type]
