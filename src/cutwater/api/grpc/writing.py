"""From a model's outputs to a ModelInferResponse: raw, and without copying them."""

from typing import NamedTuple

from cutwater.api.backend import VERSION, Answered
from cutwater.api.classes import largest
from cutwater.api.datatypes import TEXT, Buffer, as_numbers, datatype_named, to_bytes
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.messages import join_infer
from cutwater.api.grpc.reading import parameters_of
from cutwater.api.requests import Contract, Slot, check_memory
from cutwater.errors import BadSetting, BadTensor

FINAL = "triton_final_response"
"""Parameter of each answer in a stream: no other will follow to its request."""

_TEXT = datatype_named(TEXT)


class Wish(NamedTuple):
    """One output as it is wanted."""

    slot: Slot
    classes: int = 0
    """Instead of the elements, so many classes; 0: the elements."""


def wishes(contract: Contract, request: pb.ModelInferRequest) -> list[Wish]:
    """The outputs a request wants, in its order. Raises BadTensor, BadSetting, Unsupported."""
    if not request.outputs:
        return [Wish(slot) for slot in contract.outputs.values()]
    found: dict[str, Wish] = {}
    for wanted in request.outputs:
        name, classes = wanted.name, 0
        if wanted.parameters:
            check_memory(name, wanted.parameters)
            classes = parameters_of(wanted.parameters).get("classification", 0)
            if not isinstance(classes, int) or not 0 <= classes < 2**31:
                raise BadSetting(f"output {name!r}: classification is how many classes, not {str(classes)[:40]!r}")
        if name in found:
            raise BadTensor(f"output {name!r} is asked for twice")
        found[name] = Wish(contract.wanted(name), classes)
    return list(found.values())


def write_answer(
    contract: Contract, id: str, wanted: list[Wish], answered: Answered, *, final: bool = False
) -> list[Buffer]:
    """The parts of a ModelInferResponse, to be joined.

    Args:
        contract: Of the model.
        id: The request's, as its client calls it.
        wanted: The outputs it wants.
        answered: What was computed.
        final: Whether to say that this is the only answer, as streams do.

    Raises:
        BadTensor: an output has no classes.
    """
    head = pb.ModelInferResponse(model_name=contract.card.name, model_version=VERSION, id=id)
    contents: list[Buffer] = []
    for slot, classes in wanted:
        datatype, array = slot.datatype, answered.outputs[slot.name]
        if classes:
            array = largest(slot.name, as_numbers(datatype, array), classes, contract.card.labels)
            datatype = _TEXT
        head.outputs.add(name=slot.name, datatype=datatype.name, shape=array.shape)
        contents.append(to_bytes(datatype, array))
    if final:
        head.parameters[FINAL].bool_param = True
    return join_infer(head, contents)


def write_error(request: pb.ModelInferRequest, message: str) -> bytes:
    """The ModelStreamInferResponse to a request of a stream that failed."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=request.model_version, id=request.id)
    response.parameters[FINAL].bool_param = True
    found: bytes = pb.ModelStreamInferResponse(error_message=message, infer_response=response).SerializeToString()
    return found
