"""How log lines are written: for people, or one JSON object a line, with whatever was said along with the message.

_log.info("answered", extra={"request": "7-1", "model": "vit"})
2026-01-01T00:00:00.000Z INFO cutwater.x: answered request=7-1 model=vit
{"time":"2026-01-01T00:00:00.000Z","level":"INFO","logger":"cutwater.x","process":"gateway-1","message":"answered",
 "request":"7-1","model":"vit"}
"""

import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import msgspec

from cutwater.units import Seconds

CALM: Seconds = 30.0
"""How long a line is not said again."""
KNOWN = 256
"""Lines that are remembered."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest was given with ``extra``."""
_EOF = "returning true from eof_received() has no effect when using ssl"


class TextLines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line, the exception not counted."""
        said = "".join(f" {name}={_plain(value)}" for name, value in _extra(record).items())
        return super().formatMessage(record) + said


class JsonLines(logging.Formatter):
    """For collectors."""

    def __init__(self, process: str) -> None:
        """``process``: its name, on every line."""
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One object, without line breaks; what is no JSON becomes text."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "process": self._process,
            "message": _utf8(record.getMessage()),
        }
        for name, value in _extra(record).items():
            line.setdefault(name, _utf8(value) if isinstance(value, str) else value)
        if record.exc_info:
            line["error"] = _utf8(self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()


def make_lines(log_format: str, process: str) -> logging.Formatter:
    """The lines of the setting ``observe.log_format``."""
    return JsonLines(process) if log_format == "json" else TextLines()


class Damper(logging.Filter):
    """Says a line that comes again and again once in a while, and how often it came meanwhile.

    What stays the case for long, such as a fabric that is away, is met by many who try again and say so each time.
    Lines about one request or the like, which have fields of their own, all pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()
        """Line -> when it was said last, and how often it was not since then."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it."""
        if record.exc_info or _extra(record):
            return True
        line = (record.name, record.levelno, record.getMessage())
        at, unsaid = self._lines.get(line, (-CALM, 0))
        if record.created - at < CALM:
            self._lines[line] = at, unsaid + 1
            return False
        self._lines[line] = record.created, 0
        self._lines.move_to_end(line)
        if len(self._lines) > KNOWN:
            self._lines.popitem(last=False)
        if unsaid:
            record.repeated = unsaid
        return True


def hush() -> None:
    """Keep out what libraries repeat without meaning."""
    # The NATS client begins TLS on a stream that does not learn of it, so the loop warns whenever a connection ends.
    logging.getLogger("asyncio").addFilter(_is_meant)


def _is_meant(record: logging.LogRecord) -> bool:
    return record.msg != _EOF


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _plain(value: object) -> str:
    """In one piece: a client may call its request whatever it likes, a second line included."""
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)


def _utf8(text: str) -> str:
    """Clients may send what is half a character."""
    return text.encode("utf-8", "backslashreplace").decode()
