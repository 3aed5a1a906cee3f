"""From a model's outputs to a ModelInferResponse: raw, and without copying them."""

from cutwater.api.backend import VERSION, Answered
from cutwater.api.datatypes import Buffer, to_bytes
from cutwater.api.grpc import inference_pb2 as pb
from cutwater.api.grpc.messages import join_infer
from cutwater.api.grpc.reading import parameters_of
from cutwater.api.outputs import Wish, found_for, wishes_for
from cutwater.api.requests import Contract, check_memory
from cutwater.errors import BadSetting

FINAL = "triton_final_response"
"""Parameter of each answer in a stream: no other will follow to its request."""


def wishes(contract: Contract, request: pb.ModelInferRequest) -> list[Wish]:
    """The outputs a request wants, in its order. Raises BadTensor, BadSetting, Unsupported."""
    return wishes_for(contract, map(_asked, request.outputs), binary=True)


def _asked(wanted: pb.ModelInferRequest.InferRequestedOutputTensor) -> tuple[str, bool, int]:
    if not wanted.parameters:
        return wanted.name, True, 0
    check_memory(wanted.name, wanted.parameters)
    classes = parameters_of(wanted.parameters).get("classification", 0)
    if not isinstance(classes, int) or not 0 <= classes < 2**31:
        raise BadSetting(f"output {wanted.name!r}: classification is how many classes, not {str(classes)[:40]!r}")
    return wanted.name, True, classes


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
    for wish in wanted:
        datatype, array = found_for(contract, wish, answered)
        head.outputs.add(name=wish.slot.name, datatype=datatype.name, shape=array.shape)
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
