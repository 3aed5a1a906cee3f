"""From a model's outputs to the body of an answer: JSON, and behind it the outputs that are wanted in binary."""

import msgspec

from cutwater.api.backend import VERSION, Answered
from cutwater.api.datatypes import Buffer, to_bytes, to_values
from cutwater.api.http.words import InferAnswer, InferRequest, OutputSize, OutputTensor, RequestedOutput
from cutwater.api.outputs import Wish, found_for, wishes_for
from cutwater.api.requests import Contract, check_memory
from cutwater.errors import BadSetting

_encode = msgspec.json.Encoder().encode


def wishes(contract: Contract, request: InferRequest) -> list[Wish]:
    """The outputs a request wants, in its order. Raises BadTensor, BadSetting, Unsupported."""
    binary = request.parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise BadSetting(f"parameter 'binary_data_output' is true or false, not {str(binary)[:40]!r}")
    return wishes_for(contract, (_asked(each, binary) for each in request.outputs), binary)


def _asked(wanted: RequestedOutput, binary: bool) -> tuple[str, bool, int]:
    how = wanted.parameters
    if how.shared_memory_region is not None:
        check_memory(wanted.name, {"shared_memory_region": how.shared_memory_region})
    return wanted.name, binary if how.binary_data is None else how.binary_data, how.classification


def write_answer(contract: Contract, id: str, wanted: list[Wish], answered: Answered) -> tuple[bytes, list[Buffer]]:
    """The JSON, and the buffers that follow it: views of the outputs where that can be.

    Raises:
        BadTensor: an output cannot go out as it is wanted.
    """
    tensors: list[OutputTensor] = []
    buffers: list[Buffer] = []
    for wish in wanted:
        name, (datatype, array) = wish.slot.name, found_for(contract, wish, answered)
        if wish.binary:
            buffer = to_bytes(datatype, array)
            buffers.append(buffer)
            tensors.append(
                OutputTensor(name=name, datatype=datatype.name, shape=array.shape, parameters=OutputSize(len(buffer)))
            )
        else:
            data = to_values(name, datatype, array)
            tensors.append(OutputTensor(name=name, datatype=datatype.name, shape=array.shape, data=data))
    return _encode(InferAnswer(model_name=contract.card.name, model_version=VERSION, id=id, outputs=tensors)), buffers
