"""What the fields of a description may hold, said where each is declared: how it is written, and its range."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from cutwater.errors import BadQuantity
from cutwater.units import Seconds, parse_rate, parse_seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """A range, and how a value is read from text."""

    parse: Callable[[str | int | float], float]
    least: float = 0.0
    most: float = float("inf")
    open: bool = True
    """Whether ``least`` itself is too little."""

    def problem(self, value: float) -> str | None:
        """What is wrong with ``value``; None: nothing."""
        if not value < float("inf"):
            return f"{value} is not a finite number"
        if value < self.least or (self.open and value == self.least):
            return f"{value:g} must be {'above' if self.open else 'at least'} {self.least:g}"
        return f"{value:g} must be at most {self.most:g}" if value > self.most else None


def _number(value: str | int | float) -> float:
    try:
        return float(value)
    except ValueError:
        raise BadQuantity(f"{value!r} is not a number") from None


LONGEST: Seconds = 366 * 86400.0
"""Of a workload: a year. What reaches farther was counted from another start, such as 1970."""
MOST_CHANGES = 10_000_000
"""Of a rate, in one workload."""

Rate = Annotated[float, Limits(parse_rate)]
"""Requests per second."""
RateOrNone = Annotated[float, Limits(parse_rate, open=False)]
"""Requests per second; 0: nothing comes."""
Duration = Annotated[float, Limits(parse_seconds, most=LONGEST)]
Moment = Annotated[float, Limits(parse_seconds, most=LONGEST, open=False)]
Variation = Annotated[float, Limits(_number, most=100.0)]
"""A coefficient of variation: standard deviation over mean. Above 100 a gap is either nothing or for ever."""
Share = Annotated[float, Limits(_number, most=1.0)]
Weight = Annotated[float, Limits(_number)]
WeightOrNone = Annotated[float, Limits(_number, open=False)]


class Checked(msgspec.Struct, frozen=True):
    """A description whose fields keep to their limits, or it is not made."""

    def __post_init__(self) -> None:
        """Raise BadQuantity that begins with the path of the field: ``"states[1].stay: 0 must be above 0"``."""
        for name, hint in hints(type(self)).items():
            for path, problem in _problems(name, getattr(self, name), hint):
                raise BadQuantity(f"{path}: {problem}")


def check_changes(field: str, count: float) -> None:
    """Refuse a rate that changes so often that its curve would fill the memory. Raises BadQuantity."""
    if count > MOST_CHANGES:
        raise BadQuantity(f"{field}: is so short that the rate changes {count:.3g} times, over {MOST_CHANGES:,}")


@cache
def hints(form: type) -> Mapping[str, Any]:
    """Field -> its declared type, limits included."""
    return get_type_hints(form, include_extras=True)


def limits_of(hint: Any) -> Limits | None:
    """Those of a number; None: the type has none."""
    found = [each for each in get_args(hint)[1:] if isinstance(each, Limits)] if get_origin(hint) is Annotated else []
    return found[0] if found else None


def _problems(path: str, value: object, hint: Any) -> Iterator[tuple[str, str]]:
    limits = limits_of(hint)
    if limits is not None and isinstance(value, int | float):
        if (problem := limits.problem(value)) is not None:
            yield path, problem
    elif isinstance(value, tuple) and (inner := get_args(hint)):
        for position, each in enumerate(value):
            yield from _problems(f"{path}[{position}]", each, inner[0])
    elif isinstance(value, dict) and (inner := get_args(hint)):
        for name, each in value.items():
            yield from _problems(f"{path}.{name}", each, inner[1])
    elif value is not None and get_args(hint) and get_origin(hint) is not Annotated:
        for each_hint in get_args(hint):  # of a union, the one with limits
            if limits_of(each_hint) is not None:
                yield from _problems(path, value, each_hint)
