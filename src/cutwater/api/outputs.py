"""Outputs as a request wants them: which, in which form, and what an answer says besides; for both HTTP and gRPC."""

from collections.abc import Iterable
from typing import NamedTuple

from cutwater.api.backend import Answered
from cutwater.api.classes import largest
from cutwater.api.datatypes import TEXT, Datatype, as_numbers, datatype_named
from cutwater.api.requests import Contract, Slot
from cutwater.errors import BadTensor
from cutwater.frameworks.base import Array

_TEXT = datatype_named(TEXT)


class Wish(NamedTuple):
    """One output as it is wanted."""

    slot: Slot
    binary: bool
    """As its bytes, not as values."""
    classes: int = 0
    """Instead of the elements, so many classes; 0: the elements."""


def wishes_for(contract: Contract, asked: Iterable[tuple[str, bool, int]], binary: bool) -> list[Wish]:
    """The outputs a request wants, in its order; all where it names none.

    Args:
        contract: Of the model.
        asked: Name, whether in binary, and how many classes of each.
        binary: Where it names none.

    Raises:
        BadTensor: There is no such output, or it is asked for twice.
    """
    found: dict[str, Wish] = {}
    for name, as_bytes, classes in asked:
        if name in found:
            raise BadTensor(f"output {name!r} is asked for twice")
        found[name] = Wish(contract.wanted(name), as_bytes, classes)
    return list(found.values()) or [Wish(slot, binary) for slot in contract.outputs.values()]


def found_for(contract: Contract, wish: Wish, answered: Answered) -> tuple[Datatype, Array]:
    """What goes out for it, and as what. Raises BadTensor where an output has no classes."""
    slot = wish.slot
    array = answered.outputs[slot.name]
    if not wish.classes:
        return slot.datatype, array
    numbers = as_numbers(slot.datatype, array)
    return _TEXT, largest(slot.name, numbers, wish.classes, contract.card.labels)


def told_of(answered: Answered) -> tuple[tuple[str, str], ...]:
    """What an answer says besides its outputs: headers in HTTP, trailing metadata in gRPC."""
    found = [("cutwater-request", answered.request)]
    if answered.degraded:
        found.append(("cutwater-degraded", "true"))
    if answered.span:
        found.append(("traceparent", answered.span))
    if answered.trail:
        found.append(("server-timing", _timing(answered)))
    return tuple(found)


def _timing(answered: Answered) -> str:
    """Where its time went, in milliseconds, as W3C Server Timing has it: ``queue``; of each stage waiting and work.

    The rest of a request's time it was on its way. `cutwater.client.timing` reads it.
    """
    parts = [f"queue;dur={1e3 * answered.waited:.3f}"]
    for number, mark in enumerate(answered.trail, 1):
        waited, worked = mark.started - mark.received, mark.finished - mark.started
        parts.append(f"wait-{number};dur={1e3 * waited:.3f}, stage-{number};dur={1e3 * worked:.3f}")
    return ", ".join(parts)
