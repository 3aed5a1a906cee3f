"""The tensors at any cut of a model for one request, as a run of the real model makes them."""

from dataclasses import dataclass, field

import numpy as np

from cutwater.cut.cut import Cut
from cutwater.cut.split import extract
from cutwater.frameworks.base import Array
from cutwater.graph.graph import Graph
from cutwater.lab.timing import Feeds, MeasureOptions


@dataclass
class Activations:
    """Computed when asked for, once per cut."""

    graph: Graph
    feeds: Feeds
    options: MeasureOptions
    _known: dict[int, dict[str, Array]] = field(default_factory=dict)

    def at(self, cut: Cut) -> dict[str, Array]:
        """The border of ``cut`` with its real values, at ``options.batch``. Raises StageFailed, BadTensor."""
        if cut.before not in self._known:
            self._known[cut.before] = self._stacked() if cut.before == 0 else self._computed(cut)
        return self._known[cut.before]

    def _computed(self, cut: Cut) -> dict[str, Array]:
        start = ends(self.graph)[0]
        session = self.options.framework.load(extract(self.graph, start, cut).onnx, self.options.engine)
        try:
            return dict(zip(session.outputs, session.run(self.at(start)), strict=True))
        finally:
            session.close()

    def _stacked(self) -> dict[str, Array]:
        return {name: self._repeated(name, value) for name, value in self.feeds.items()}

    def _repeated(self, name: str, value: Array) -> Array:
        tensor = self.graph.tensors.get(name)
        axis = tensor.batch_axis if tensor is not None else None
        return value if axis is None or self.options.batch == 1 else np.concatenate([value] * self.options.batch, axis)


def ends(graph: Graph) -> tuple[Cut, Cut]:
    """The cuts before and after everything."""
    inputs, outputs = (sum(graph.tensors[name].nbytes for name in names) for names in (graph.inputs, graph.outputs))
    weights = sum(graph.weights.values())
    return (
        Cut(0, graph.inputs, inputs, 0, 0, "input"),
        Cut((1 << len(graph.ops)) - 1, graph.outputs, outputs, graph.flops, weights, "output"),
    )
