"""What enters by the first door in some form leaves by the last one as what it was, to within the codec's bound."""

import numpy as np
import pytest

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.form_ops import travelling
from cutwater.cut.stage import Stage
from cutwater.errors import BadTensor
from cutwater.graph.graph import Tensor
from cutwater.services.workers.doors import Entry, Exit
from cutwater.units import RequestId
from cutwater.wire.codecs.registry import CODEC_NAMES, get_codec
from cutwater.wire.message import Answer

PICTURE = Tensor("x", "float32", (1, 3, 8, 8), 768)
NAMES = Tensor("x.ids", "int64", (1, 4), 32)
BORDER = Cut(0, ("x", "x.ids"), 800, 0, 0, "both")


def stage(form: Form) -> Stage:
    """Something that passes both tensors on, in ``form`` at both ends."""
    parts = tuple(part for tensor in (PICTURE, NAMES) for part in travelling(tensor, form))
    return Stage(BORDER, BORDER, form, form, parts, parts, b"", 0, 0, batchable=False, hash="")


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_every_codec_brings_floats_back_within_its_bound_and_integers_exactly(codec: str) -> None:
    picture = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    ids = np.array([[1, -(2**60), 0, 7]])
    both = stage(get_codec(codec).form)
    specs, buffers = Entry.of(both, codec).enter({"x": picture, "x.ids": ids})
    answer = Answer(RequestId(1), 1, get_codec(codec).packing.name, specs, ())
    found = Exit.of(both, codec).leave(answer, [memoryview(buffer) for buffer in buffers])
    assert list(found) == ["x", "x.ids"]
    np.testing.assert_array_equal(found["x.ids"], ids)
    assert found["x"].dtype == np.float32 and found["x"].shape == picture.shape
    assert (np.abs(found["x"] - picture) <= get_codec(codec).bound(picture)).all()


@pytest.mark.parametrize("codec", ["raw", "float16", "int8"])
def test_zeros_are_what_a_client_could_have_sent(codec: str) -> None:
    entry = Entry.of(stage(get_codec(codec).form), codec)
    zeros = entry.zeros()
    assert [(a.dtype.name, a.shape) for a in zeros.values()] == [("float32", (1, 3, 8, 8)), ("int64", (1, 4))]
    entry.enter(zeros)


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({"x": np.zeros((1, 3, 8, 8), np.float64)}, "input 'x' must be float32"),
        ({"x": np.zeros((3, 8, 8), np.float32)}, "input 'x' must be"),
    ],
)
@pytest.mark.parametrize("codec", ["raw", "float16", "int8"])
def test_another_type_or_rank_is_named(codec: str, feeds: dict[str, np.ndarray], complaint: str) -> None:
    entry = Entry.of(stage(get_codec(codec).form), codec)
    with pytest.raises(BadTensor, match=complaint):
        entry.enter({**feeds, "x.ids": np.zeros((1, 4), np.int64)})
