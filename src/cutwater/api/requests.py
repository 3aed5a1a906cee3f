"""What a request may ask of a model, checked against the model's card before anything is read or allocated."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cutwater.api.backend import VERSION, ModelCard
from cutwater.api.datatypes import TEXT, Datatype, datatype_named, datatype_of
from cutwater.errors import BadSetting, BadTensor, NotFound, Unsupported, did_you_mean
from cutwater.graph.graph import Tensor
from cutwater.units import Seconds
from cutwater.wire.message import MAX_RANK

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON raises, whoever wrote it."""
FREE = -1
"""A size that the request chooses, as the protocol writes it."""
NAME = 80
"""Characters that are said of a name nobody knows, which may be as long as a request."""
ORDINARY_LEVEL = 5
"""The protocol's priority level that is worth as much as none at all."""
LOWEST_LEVEL = 9
"""Levels beyond it count as it does."""
PICTURE_SHAPES = ((1,), (1, 1))
"""Of one encoded picture as BYTES: alone, or as a batch of one."""


class Slot(NamedTuple):
    """One input or output of a model, in the protocol's words."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    """`FREE` where a request may choose."""


class Terms(NamedTuple):
    """How a request wants to be treated."""

    timeout: Seconds | None
    """None: as the model's card says."""
    priority: int
    """Higher is sooner; 0 is the ordinary one."""


class Contract:
    """What one model takes and gives. Made once for each card, see `Contracts`."""

    def __init__(self, card: ModelCard) -> None:
        """Raises BadTensor for a model whose inputs or outputs the protocol has no words for."""
        self.card = card
        pictures = takes_encoded(card)
        self.inputs = {each.name: _slot(card, each, free=pictures) for each in card.inputs}
        self.outputs = {each.name: _slot(card, each) for each in card.outputs}
        self.encoded = pictures
        """Whether the model's own input is a picture as its file holds it."""

    def slot(self, name: str, datatype: str, shape: Sequence[int]) -> Slot:
        """The input a request means. Raises BadTensor naming it, and what is wrong with it."""
        slot = self.inputs.get(name)
        if slot is None:
            raise BadTensor(f"model {self.card.name!r} has no input {name[:NAME]!r}{did_you_mean(name, self.inputs)}")
        if datatype != slot.datatype.name:
            datatype_named(datatype)
            raise BadTensor(f"input {name!r} is {slot.datatype.name}, not {datatype}")
        if len(shape) != len(slot.shape) or len(shape) > MAX_RANK:
            raise BadTensor(
                f"input {name!r} has {len(slot.shape)} dimensions like {list(slot.shape)}, not {list(shape)[:MAX_RANK]}"
            )
        for axis, (wanted, found) in enumerate(zip(slot.shape, shape, strict=True)):
            if wanted != found and (wanted != FREE or found < 1):
                least = "at least 1" if wanted == FREE else str(wanted)
                raise BadTensor(f"input {name!r}: dimension {axis} is {least}, not {found}, in shape {list(shape)}")
        return slot

    def is_picture(self, name: str, datatype: str, shape: Sequence[int]) -> bool:
        """Whether this input is one encoded picture for a model that looks at pictures."""
        if datatype != TEXT or not self.card.task or len(self.inputs) != 1 or tuple(shape) not in PICTURE_SHAPES:
            return False
        slot = self.inputs.get(name)
        return slot is not None and slot.datatype.name != TEXT

    def check_complete(self, given: Iterable[str]) -> None:
        """Each input once. Raises BadTensor."""
        names = list(given)
        missing = [name for name in self.inputs if name not in names]
        if missing:
            raise BadTensor(f"model {self.card.name!r} also wants input {missing[0]!r}")
        if len(names) != len(self.inputs):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadTensor(f"input {twice!r} is given twice")

    def wanted(self, name: str) -> Slot:
        """The output a request means. Raises BadTensor."""
        slot = self.outputs.get(name)
        if slot is None:
            raise BadTensor(f"model {self.card.name!r} has no output {name[:NAME]!r}{did_you_mean(name, self.outputs)}")
        return slot


class Contracts:
    """The contracts of all models, each kept while its card stays the same."""

    def __init__(self) -> None:
        self._known: dict[str, Contract] = {}

    def of(self, card: ModelCard) -> Contract:
        """See `Contract`."""
        known = self._known.get(card.name)
        if known is None or known.card is not card:
            known = self._known[card.name] = Contract(card)
        return known


def takes_encoded(card: ModelCard) -> bool:
    """Whether a model's own input is a picture as its file holds it: some bytes."""
    if not card.task or len(card.inputs) != 1:
        return False
    (given,) = card.inputs
    return given.dtype == "uint8" and len(given.shape) == 1


def unreadable(error: Exception) -> str:
    """Why a request cannot be read."""
    said = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    return f"the request is not as the protocol says: {said}"


def is_trace(text: str) -> bool:
    """Whether it is a ``traceparent`` as the W3C's Trace Context says."""
    return _TRACEPARENT.fullmatch(text) is not None


def check_version(model: str, version: str) -> None:
    """Each model has one. Raises NotFound for another; none at all means that one."""
    if version not in ("", VERSION):
        raise NotFound(f"model {model!r} has version {VERSION} only, not {version[:40]!r}")


def terms(parameters: Mapping[str, Any]) -> Terms:
    """From a request's parameters: ``timeout`` in microseconds, ``priority`` with 1 as the highest level.

    Level 5 is worth as much as none at all, or 0; what is beyond 9 counts as 9. Parameters nobody knows are for others.

    Raises:
        BadSetting: one of them has no sense.
        Unsupported: the request belongs to a sequence.
    """
    if not _TELLING.intersection(parameters):
        return ORDINARY
    if parameters.get("sequence_id") or parameters.get("sequence_start") or parameters.get("sequence_end"):
        raise Unsupported("parameter 'sequence_id': models keep nothing between requests, so there are no sequences")
    timeout = _natural(parameters, "timeout")
    level = _natural(parameters, "priority")
    return Terms(
        timeout=timeout / 1e6 if timeout else None,
        priority=ORDINARY_LEVEL - min(level, LOWEST_LEVEL) if level else 0,
    )


ORDINARY = Terms(timeout=None, priority=0)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TELLING = frozenset({"sequence_id", "sequence_start", "sequence_end", "timeout", "priority"})


def check_memory(name: str, parameters: Mapping[str, Any]) -> None:
    """Tensors come in the request. Raises Unsupported where one lies in shared memory."""
    if any(key.startswith("shared_memory_") for key in parameters):
        raise Unsupported(f"tensor {name[:NAME]!r}: shared memory is not offered; send tensors in the request")


def _natural(parameters: Mapping[str, Any], name: str) -> int:
    found = parameters.get(name, 0)
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 20:
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**63:
        raise BadSetting(f"parameter {name!r} is a whole number from 0 up, not {str(found)[:40]!r}")
    return found


def _slot(card: ModelCard, tensor: Tensor, free: bool = False) -> Slot:
    shape = list(tensor.shape)
    for axis in card.dynamic.get(tensor.name, ()):
        shape[axis] = FREE
    if tensor.batch_axis is not None:
        shape[tensor.batch_axis] = FREE
    return Slot(tensor.name, datatype_of(tensor.dtype), (FREE,) if free else tuple(shape))
