"""A PyTorch module as ONNX: the same answers, any batch, layer names kept; a bad factory is named."""

import importlib
import sys
import textwrap

import numpy as np
import pytest

from cutwater.errors import BadModel, BadShape, InputError, MissingExtra
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.open import open_graph
from cutwater.frameworks.torch import InputSpec, export, parse_input_spec

SOURCE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
    def forward(self, x):
        return self.norm(self.conv(x)).relu()

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block = Block()
        self.head = nn.Linear(8, 5)
    def forward(self, x):
        return self.head(self.block(x).mean((2, 3)))

ready = Tiny()
number = 7
def needs_arguments(width): ...
def makes_a_number(): return 7
"""


def test_inputs_are_written_as_name_type_and_shape():
    assert parse_input_spec("1x3x224x224") == InputSpec("input", (1, 3, 224, 224))
    assert parse_input_spec("8", 1) == InputSpec("input1", (8,))
    assert parse_input_spec("ids=int64:1x128") == InputSpec("ids", (1, 128), "int64")


@pytest.mark.parametrize("text", ["", "3x", "ids=", "1x0x3", "complex256:1x3", "-1x3", "1x3x224x224x"])
def test_other_texts_are_no_inputs(text):
    with pytest.raises(BadShape, match=r"dimension of 0|unknown type|not an input"):
        parse_input_spec(text)


def test_without_torch_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python itself does to say "not to be had"
    with pytest.raises(MissingExtra, match=r"pip install 'cutwater\[torch\]'"):
        export("tiny:Tiny", [InputSpec("x", (1, 3))], tmp_path / "tiny.onnx")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An importable module `tiny_for_export` with good and bad factories."""
    (tmp_path / "tiny_for_export.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("tiny_for_export", None)


PICTURE = [InputSpec("picture", (1, 3, 16, 16))]


@pytest.mark.torch
@pytest.mark.torch
@pytest.mark.slow
def test_the_exported_model_answers_like_the_module_at_any_batch(tiny):
    import torch

    path = export("tiny_for_export:Tiny", PICTURE, tiny / "tiny.onnx")
    module = importlib.import_module("tiny_for_export").Tiny().eval()
    session = OnnxRuntime().load(path.read_bytes())
    for batch in (1, 5):
        x = np.random.default_rng(batch).standard_normal((batch, 3, 16, 16)).astype(np.float32)
        (found,) = session.run({"picture": x})
        wanted = module(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    graph = open_graph(path)
    assert graph.batchable
    assert graph.tensors["picture"].shape == (1, 3, 16, 16)
    assert {op.scope.partition(".")[0] for op in graph.ops} >= {"block", "head"}


@pytest.mark.torch
@pytest.mark.torch
@pytest.mark.slow
def test_a_fixed_batch_stays_fixed_and_a_module_object_is_as_good_as_a_factory(tiny):
    path = export("tiny_for_export:ready", PICTURE, tiny / "fixed.onnx", dynamic_batch=False)
    assert not open_graph(path).batchable


@pytest.mark.torch
@pytest.mark.torch
@pytest.mark.slow
def test_a_module_that_does_not_fit_its_inputs_is_a_bad_model(tiny):
    with pytest.raises(BadModel, match="picture=float32:1x4x16x16"):
        export("tiny_for_export:Tiny", [InputSpec("picture", (1, 4, 16, 16))], tiny / "tiny.onnx")
    assert not (tiny / "tiny.onnx").exists()


@pytest.mark.torch
@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tiny_for_export", "write it like"),
        (":Tiny", "write it like"),
        ("no_such_module_anywhere:make", "PYTHONPATH"),
        ("tiny_for_export:Tinny", "has no 'Tinny'"),
        ("tiny_for_export:number", "of type int"),
        ("tiny_for_export:needs_arguments", "must need no arguments"),
        ("tiny_for_export:makes_a_number", "made an object of type int"),
    ],
)
def test_a_bad_factory_is_named(tiny, target, message):
    with pytest.raises(InputError, match=message):
        export(target, PICTURE, tiny / "tiny.onnx")
