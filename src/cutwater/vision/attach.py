"""Puts pre-processing before a network and post-processing behind it, as nodes of the same model.

The result takes an encoded picture and gives the answer, so that "send the picture" and "send only the answer" are
ordinary cuts:

    encoded -> DecodePicture -> Cast -> Sub -> Div -> Transpose -> the network -> Softmax -> TopK -> scores, classes
                                                                              or SelectBoxes -> boxes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cutwater.errors import BadModel
from cutwater.vision.detect import Selection
from cutwater.vision.host_ops import HOST_DOMAIN, HOST_OPSET
from cutwater.vision.prepare import Preparation

ENCODED = "encoded"
"""The input: uint8 [encoded_bytes], a picture as its file holds it."""
ENCODED_BYTES = "encoded_bytes"
"""Its dimension. A JPEG at the resolution networks look at has 40 to 80 kB."""
USUAL_TOP = 5


def attach_classifier(model: onnx.ModelProto, preparation: Preparation, top: int | None = None) -> onnx.ModelProto:
    """The classifier from encoded picture to its best guesses.

    Args:
        model: One float32 picture input [batch, 3, height, width] or [batch, height, width, 3]; one output of raw class
            scores [batch, classes] (probabilities, if its last op is a Softmax).
        top: How many guesses; None: `USUAL_TOP`, or one per class where there are fewer.

    Returns:
        ``encoded`` uint8 [encoded_bytes] -> ``scores`` float32 [1, top] in 0..1, ``classes`` int64 [1, top].

    Raises:
        BadModel: Inputs or outputs of another form.
    """
    whole = _Attachment(model, preparation)
    last, classes = whole.single_output(rank=2)
    top = min(USUAL_TOP, classes) if top is None else top
    if top > classes:
        raise BadModel(f"model {model.graph.name!r} has {classes} classes; ask for at most so many guesses, not {top}")
    if not whole.ends_in("Softmax"):
        last = whole.add("Softmax", [last], ["/postprocess/probabilities"], [[1, classes]], axis=1)
    k = whole.weight("/postprocess/top", np.array([top], np.int64))
    whole.add("TopK", [last, k], ["scores", "classes"], [[1, top], [1, top]], axis=1)
    return whole.finish({"scores": (TensorProto.FLOAT, [1, top]), "classes": (TensorProto.INT64, [1, top])})


def attach_detector(
    model: onnx.ModelProto,
    preparation: Preparation = Preparation(fit="letterbox"),  # noqa: B008
    selection: Selection = Selection(),  # noqa: B008
) -> onnx.ModelProto:
    """The detector from encoded picture to selected boxes.

    Args:
        model: One float32 picture input; one output of raw boxes [batch, 4 + classes, n] (see `select_boxes`).

    Returns:
        ``encoded`` uint8 [encoded_bytes] -> ``boxes`` float32 [1, limit, 6]: x1, y1, x2, y2 in the network's input
        pixels (`Framing.to_picture` leads back), score, class; zeros where there are fewer.

    Raises:
        BadModel: Inputs or outputs of another form.
    """
    whole = _Attachment(model, preparation)
    raw, _ = whole.single_output(rank=3)
    shape = [1, selection.limit, 6]
    whole.add(
        "SelectBoxes", [raw], ["boxes"], [shape], domain=HOST_DOMAIN,
        score=selection.score, overlap=selection.overlap, limit=selection.limit,
    )  # fmt: skip
    return whole.finish({"boxes": (TensorProto.FLOAT, shape)})


@dataclass(frozen=True)
class Frame:
    """What a model that decodes its pictures itself fits them into."""

    height: int
    width: int
    preparation: Preparation


def attached_frame(model: onnx.ModelProto) -> Frame | None:
    """How a model's own `DecodePicture` fits pictures; None where it has none. Mean and std are not looked for."""
    for node in model.graph.node:
        if node.op_type == "DecodePicture" and node.domain == HOST_DOMAIN:
            found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
            usual = Preparation()
            fit = found["fit"].decode() if "fit" in found else usual.fit
            return Frame(found["height"], found["width"], Preparation(fit=fit, share=found.get("share", usual.share)))
    return None


class _Attachment:
    """A copy of a model while nodes are added at both ends."""

    def __init__(self, model: onnx.ModelProto, preparation: Preparation) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._graph = self._model.graph
        self._fix_batch()
        self._prepend(preparation)

    def single_output(self, rank: int) -> tuple[str, int]:
        """Name of the network's only output and the size of its axis 1."""
        if len(self._graph.output) != 1:
            raise BadModel(f"model {self._graph.name!r} has {len(self._graph.output)} outputs; expected one")
        output = self._graph.output[0]
        shape = _shape(output)
        if len(shape) != rank or not isinstance(shape[1], int):
            raise BadModel(
                f"output {output.name!r} of model {self._graph.name!r} has shape {shape}; expected {rank} sizes"
            )
        return output.name, shape[1]

    def ends_in(self, kind: str) -> bool:
        """Whether the network's output comes from an op of this kind."""
        last = self._graph.output[0].name
        return any(last in node.output and node.op_type == kind for node in self._graph.node)

    def weight(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        """Store a constant."""
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        shapes: Sequence[Sequence[int]],
        domain: str = "",
        **attributes: float | int | str,
    ) -> str:
        """Add a float32 node behind the network and return its first output."""
        node = helper.make_node(kind, inputs, outputs, name=f"/postprocess/{kind}", domain=domain or None, **attributes)
        self._graph.node.append(node)
        if outputs[0].startswith("/"):
            self._describe(outputs[0], TensorProto.FLOAT, shapes[0])
        return outputs[0]

    def finish(self, outputs: Mapping[str, tuple[int, Sequence[int]]]) -> onnx.ModelProto:
        """The whole model, with these outputs instead of the network's own."""
        self._graph.value_info.extend(self._graph.output)
        del self._graph.output[:]
        self._graph.output.extend(
            helper.make_tensor_value_info(name, element, shape) for name, (element, shape) in outputs.items()
        )
        self._model.opset_import.append(helper.make_opsetid(HOST_DOMAIN, HOST_OPSET))
        return self._model

    def _prepend(self, preparation: Preparation) -> None:
        weights = {weight.name for weight in self._graph.initializer}
        inputs = [entry for entry in self._graph.input if entry.name not in weights]
        shape = _shape(inputs[0]) if len(inputs) == 1 else []
        channels_first = len(shape) == 4 and shape[1] == 3
        if len(shape) != 4 or not (channels_first or shape[3] == 3):
            raise BadModel(
                f"model {self._graph.name!r} does not take one picture [batch, 3, height, width] or "
                f"[batch, height, width, 3]"
            )
        height, width = shape[2:] if channels_first else shape[1:3]
        if not isinstance(height, int) or not isinstance(width, int):
            raise BadModel(f"input {inputs[0].name!r} of model {self._graph.name!r} has no fixed height and width")
        self._graph.input.remove(inputs[0])
        self._graph.input.insert(0, helper.make_tensor_value_info(ENCODED, TensorProto.UINT8, [ENCODED_BYTES]))
        nodes = self._preparing_nodes(preparation, inputs[0].name, channels_first, (height, width))
        kept = list(self._graph.node)
        del self._graph.node[:]
        self._graph.node.extend((*nodes, *kept))
        self._graph.value_info.append(inputs[0])

    def _preparing_nodes(
        self, preparation: Preparation, target: str, channels_first: bool, size: tuple[int, int]
    ) -> list[onnx.NodeProto]:
        """DecodePicture, Cast, Sub, Div and, for a network with channels first, Transpose."""
        height, width = size
        scope = "/preprocess/"
        self.weight(f"{scope}mean", np.array(preparation.mean, np.float32))
        self.weight(f"{scope}std", np.array(preparation.std, np.float32))
        attributes: dict[str, int | float | str] = {"height": height, "width": width, "fit": preparation.fit}
        if preparation.fit == "crop":
            attributes["share"] = preparation.share
        steps: list[tuple[str, list[str], dict[str, object]]] = [
            ("DecodePicture", [], {"domain": HOST_DOMAIN, **attributes}),
            ("Cast", [], {"to": TensorProto.FLOAT}),
            ("Sub", [f"{scope}mean"], {}),
            ("Div", [f"{scope}std"], {}),
        ]
        if channels_first:
            steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
        nodes, previous = [], ENCODED
        for index, (kind, more, options) in enumerate(steps):
            result = target if index == len(steps) - 1 else f"{scope}{kind}_output_0"
            nodes.append(helper.make_node(kind, [previous, *more], [result], name=f"{scope}{kind}", **options))
            if result != target:
                element = TensorProto.UINT8 if kind == "DecodePicture" else TensorProto.FLOAT
                self._describe(result, element, [1, height, width, 3])
            previous = result
        return nodes

    def _fix_batch(self) -> None:
        """Encoded pictures differ in length and cannot be stacked: the batch becomes 1 wherever it is named."""
        first = self._graph.input[0].type.tensor_type.shape.dim
        batch = first[0].dim_param if first else ""
        for info in (*self._graph.input, *self._graph.value_info, *self._graph.output):
            for dim in info.type.tensor_type.shape.dim:
                if batch and dim.dim_param == batch:
                    dim.dim_value = 1

    def _describe(self, name: str, element: int, shape: Sequence[int]) -> None:
        self._graph.value_info.append(helper.make_tensor_value_info(name, element, shape))


def _shape(info: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_value or dim.dim_param for dim in info.type.tensor_type.shape.dim]
