"""Models with dynamic sizes open at the sizes the zoo calls usual, and say which are missing."""

import pytest

from cutwater.errors import BadShape
from cutwater.frameworks.open import open_graph
from cutwater.zoo.packages import default_cache
from cutwater.zoo.registry import MODELS, build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "taken", "given"),
    [
        ("rapidocr-det", (1, 3, 640, 640), (1, 1, 640, 640)),
        ("rapidocr-rec", (1, 3, 48, 320), (1, 40, 6625)),
        ("rapidocr-cls", (1, 3, 48, 192), (1, 2)),
    ],
)
def test_text_networks_open_at_their_usual_sizes(name: str, taken: tuple[int, ...], given: tuple[int, ...]) -> None:
    path = build(name, default_cache())
    graph = open_graph(path, MODELS[name].sizes)
    assert graph.tensors[graph.inputs[0]].shape == taken
    assert graph.tensors[graph.outputs[0]].shape == given
    assert graph.batchable
    if MODELS[name].sizes:
        with pytest.raises(BadShape, match="--size width=640"):
            open_graph(path)
