"""From a model's outputs to the body of an answer: JSON, and behind it the outputs that are wanted in binary."""

import msgspec

from cutwater.api.backend import VERSION, Answered
from cutwater.api.classes import largest
from cutwater.api.datatypes import TEXT, Buffer, as_numbers, datatype_named, to_bytes, to_values
from cutwater.api.http.words import InferAnswer, InferRequest, OutputSize, OutputTensor
from cutwater.api.requests import Contract, Slot, check_memory
from cutwater.errors import BadSetting, BadTensor

_encode = msgspec.json.Encoder().encode
_TEXT = datatype_named(TEXT)


class Wish:
    """One output as it is wanted."""

    __slots__ = ("binary", "classes", "slot")

    def __init__(self, slot: Slot, binary: bool, classes: int = 0) -> None:
        self.slot = slot
        self.binary = binary
        self.classes = classes


def wishes(contract: Contract, request: InferRequest) -> list[Wish]:
    """The outputs a request wants, in its order. Raises BadTensor, BadSetting, Unsupported."""
    binary = request.parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise BadSetting(f"parameter 'binary_data_output' is true or false, not {str(binary)[:40]!r}")
    if not request.outputs:
        return [Wish(slot, binary) for slot in contract.outputs.values()]
    found: dict[str, Wish] = {}
    for wanted in request.outputs:
        how = wanted.parameters
        if how.shared_memory_region is not None:
            check_memory(wanted.name, {"shared_memory_region": how.shared_memory_region})
        if wanted.name in found:
            raise BadTensor(f"output {wanted.name!r} is asked for twice")
        slot = contract.wanted(wanted.name)
        found[wanted.name] = Wish(slot, binary if how.binary_data is None else how.binary_data, how.classification)
    return list(found.values())


def write_answer(contract: Contract, id: str, wanted: list[Wish], answered: Answered) -> tuple[bytes, list[Buffer]]:
    """The JSON, and the buffers that follow it: views of the outputs where that can be.

    Raises:
        BadTensor: an output cannot go out as it is wanted.
    """
    tensors: list[OutputTensor] = []
    buffers: list[Buffer] = []
    for wish in wanted:
        slot, array = wish.slot, answered.outputs[wish.slot.name]
        datatype = slot.datatype
        if wish.classes:
            array = largest(slot.name, as_numbers(datatype, array), wish.classes, contract.card.labels)
            datatype = _TEXT
        if wish.binary:
            buffer = to_bytes(datatype, array)
            buffers.append(buffer)
            tensors.append(
                OutputTensor(
                    name=slot.name, datatype=datatype.name, shape=array.shape, parameters=OutputSize(len(buffer))
                )
            )
        else:
            data = to_values(slot.name, datatype, array)
            tensors.append(OutputTensor(name=slot.name, datatype=datatype.name, shape=array.shape, data=data))
    return _encode(InferAnswer(model_name=contract.card.name, model_version=VERSION, id=id, outputs=tensors)), buffers
