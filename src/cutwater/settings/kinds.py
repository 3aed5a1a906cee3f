"""Kind: what a setting can hold, how a person writes it, and how it is read; the types that settings are declared with.

A value stands in a file as YAML or TOML has it, in the environment and after a flag as text; both are read by the same
function, so that "2 GiB" and 2147483648 mean the same everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cutwater.errors import BadQuantity, InputError
from cutwater.units import Seconds, check_name, format_bytes, format_seconds, parse_bytes, parse_seconds


@dataclass(frozen=True)
class Kind:
    """How values of one type are read and written."""

    name: str
    """As the documentation calls it."""
    read: Callable[[object], object]
    """From what a file has, or from text. Raises BadQuantity."""
    write: Callable[[object], str]
    """As a person would write it."""


def _text(value: object) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise BadQuantity(f"expected text, not {value!r}")
    return str(value)


def _word(value: object) -> str:
    text = _text(value)
    if text:
        try:
            check_name("process", text)
        except InputError as error:
            raise BadQuantity(str(error)) from error
    return text


def _number(value: object) -> float:
    try:
        number = float(_text(value))
    except (ValueError, BadQuantity) as error:
        raise BadQuantity(f"expected a number, not {value!r}") from error
    if not 0 <= number < float("inf"):
        raise BadQuantity(f"{value!r} must be zero or more, and finite")
    return number


def _count(value: object) -> int:
    number = _amount(value)
    if number < 1:
        raise BadQuantity(f"expected a whole number of at least 1, not {value!r}")
    return number


def _amount(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise BadQuantity(f"expected a whole number, not {value!r}")
    return int(number)


def _share(value: object) -> float:
    text = _text(value)
    number = _number(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    if number > 1:
        raise BadQuantity(f"expected a share from 0 to 1, or from 0 % to 100 %, not {value!r}")
    return number


def _switch(value: object) -> bool:
    found = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
    try:
        return found[str(value).strip().lower()]
    except KeyError:
        raise BadQuantity(f"expected on or off, not {value!r}") from None


def _size(value: object) -> int:
    size = parse_bytes(_positive(value))
    if size < 1:
        raise BadQuantity(f"{value!r} is no size; write it like '512 MiB'")
    return size


def _duration(value: object) -> Seconds:
    return parse_seconds(_positive(value))


def _positive(value: object) -> str:
    text = _text(value)
    if text.startswith("-"):
        raise BadQuantity(f"{text} is negative")
    return text


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser().absolute()  # processes are started elsewhere


def _one_of(*words: str) -> Kind:
    def read(value: object) -> str:
        word = _text(value).strip().lower()
        if word not in words:
            raise BadQuantity(f"expected one of {', '.join(words)}, not {value!r}")
        return word

    return Kind(" or ".join(words), read, str)


TEXT = Kind("text", _text, str)
SECRET = Kind("secret", _text, lambda value: "(hidden)" if value else "")
WORD = Kind("name", _word, str)
COUNT = Kind("whole number", _count, str)
AMOUNT = Kind("whole number or 0", _amount, str)
NUMBER = Kind("number", _number, lambda value: f"{value:g}")
SHARE = Kind("share", _share, lambda value: f"{value:.0%}")
SIZE = Kind("size", _size, lambda value: format_bytes(float(str(value))))
DURATION = Kind("duration", _duration, lambda value: format_seconds(float(str(value))))
PATH = Kind("path", _path, str)
SWITCH = Kind("on or off", _switch, lambda value: "on" if value else "off")

Text = Annotated[str, TEXT]
Secret = Annotated[str, SECRET]
"""Text that is never shown."""
Word = Annotated[str, WORD]
"""A name that may be part of a subject or a key on the fabric."""
Count = Annotated[int, COUNT]
Amount = Annotated[int, AMOUNT]
Number = Annotated[float, NUMBER]
Share = Annotated[float, SHARE]
Size = Annotated[int, SIZE]
"""Bytes."""
Duration = Annotated[Seconds, DURATION]
Switch = Annotated[bool, SWITCH]
File = Annotated[Path, PATH]
LogFormat = Annotated[str, _one_of("text", "json")]
LogLevel = Annotated[str, _one_of("debug", "info", "warning", "error")]
