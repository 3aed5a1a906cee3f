"""Messages of requests and answers from and to their bytes, without copying the tensors inside.

Protobuf's own parser copies each tensor twice: into its memory, and out of it. Here the raw tensors are views of the
message as it came, and only what is left is parsed; an answer is joined from its small part and the outputs as they
lie.
"""

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from cutwater.api.datatypes import Buffer
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.errors import InputError

T = TypeVar("T", bound=Message)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_RAW_INPUT = pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | _BYTES
_RAW_OUTPUT = bytes([pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | _BYTES])
_INFER_RESPONSE = bytes([pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER << 3 | _BYTES])
_MOST = 10
"""Bytes of the longest number in a message."""


def parse(kind: type[T], message: bytes) -> T:
    """Raises InputError where it is no such message."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise InputError(f"the message is no {kind.DESCRIPTOR.full_name}: {error}") from None


def parse_infer(message: bytes) -> tuple[pb.ModelInferRequest, list[memoryview]]:
    """A ModelInferRequest without its raw_input_contents, and these. Raises InputError."""
    rest, contents = _split(message)
    return parse(pb.ModelInferRequest, rest), contents


def join_infer(head: pb.ModelInferResponse, contents: Sequence[Buffer]) -> list[Buffer]:
    """The parts of a ModelInferResponse whose raw_output_contents are these."""
    parts: list[Buffer] = [head.SerializeToString()]
    for content in contents:
        parts += (_RAW_OUTPUT + varint(len(content)), content)
    return parts


def join_stream(parts: Sequence[Buffer]) -> bytes:
    """The ModelStreamInferResponse around these parts of a ModelInferResponse."""
    return b"".join((_INFER_RESPONSE, varint(sum(map(len, parts))), *parts))


def varint(number: int) -> bytes:
    """A natural number as protobuf writes it."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _split(message: bytes) -> tuple[bytes, list[memoryview]]:
    """What is no raw tensor, in one piece, and the raw tensors."""
    view, rest, contents = memoryview(message), bytearray(), []
    at = kept = 0
    try:
        while at < len(message):
            begin = at
            tag, at = _number(message, at)
            if (wire := tag & 7) == _BYTES:
                length, at = _number(message, at)
                at += length
            elif wire == _VARINT:
                _, at = _number(message, at)
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                raise InputError(f"the message has a field of wire type {wire}, which nobody sends")
            if tag == _RAW_INPUT:
                if at > len(message):
                    break
                rest += view[kept:begin]
                contents.append(view[at - length : at])
                kept = at
    except IndexError:
        at = len(message) + 1
    if at > len(message):
        raise InputError("the message ends before its last field does")
    return (bytes(rest + view[kept:]) if contents else message), contents


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends. Raises IndexError at the message's end, InputError for a number too long."""
    byte = message[at]
    if byte < 0x80:
        return byte, at + 1
    found, shift = byte & 0x7F, 7
    for place in range(at + 1, at + _MOST):
        byte = message[place]
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, place + 1
        shift += 7
    raise InputError(f"the message has a number of more than {_MOST} bytes")
