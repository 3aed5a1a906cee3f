"""A model is opened, checked and measured before the cluster hears of it, and the same one again is no other one."""

import asyncio
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from estimated import estimate
from fabric_bed import MemoryBed
from onnx import TensorProto, helper, numpy_helper

from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import BadFile, BadModel, BadShape, InputError
from cutwater.fabric.base import Fabric, Message
from cutwater.lab.adding import TYPICAL_BYTES, Added, Addition, add_model, attached, embedded, known_as, prepare
from cutwater.profile.files import load_profile
from cutwater.services.asking import AddModel, Done
from cutwater.services.facts import ASK_COORDINATOR, STATE, decode, encode, model_key
from cutwater.vision.prepare import Preparation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures of any height: small enough to be measured in no time."""
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "height", 16])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, [weight])
    path = tmp_path_factory.mktemp("models") / "two classes.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def added(network: Path, cache: Path) -> Added:
    names = cache / "names.txt"
    names.write_text("cat\ndog\n", encoding="utf-8")
    how = Preparation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "stretch")
    return prepare(
        Addition(str(network), sizes={"height": 16}, classes=str(names), preparation=how, codecs=["raw"]), cache
    )


def test_the_record_says_what_the_model_takes_and_gives_and_what_its_classes_are(added: Added) -> None:
    record = added.record
    assert record.name == "two-classes"
    assert [(tensor.name, tensor.shape) for tensor in record.inputs] == [("x", (1, 3, 16, 16))]
    assert [(tensor.name, tensor.shape) for tensor in record.outputs] == [("scores", (1, 2))]
    assert record.sizes == {"x": (1, 3, 16, 16)}
    assert record.dynamic == {"x": (0, 2)}
    assert (record.task, record.labels) == ("classify", ("cat", "dog"))
    assert (record.pictures.mean, record.pictures.fit) == ((1.0, 2.0, 3.0), "stretch")
    assert record.blob == sha256(added.file.read_bytes()).hexdigest()
    assert load_profile(added.profile).model_hash == record.hash
    assert record.speed > 0


def test_what_is_known_as_it_is_stays_as_it_is(added: Added) -> None:
    asked: list[ModelRecord] = []

    async def story() -> None:
        bed = MemoryBed()
        async with bed.fabric() as coordinator, bed.fabric() as fabric:
            await _coordinate(coordinator, asked)
            assert await add_model(fabric, added)
            assert not await add_model(fabric, added)
            assert asked == [added.record]
            assert await known_as(fabric, "two-classes") == added.record
            assert await known_as(fabric, "another") is None
            await fabric.blobs.delete(added.record.blob)
            assert await add_model(fabric, added)
            assert await fabric.blobs.find(added.record.blob) is not None

    asyncio.run(story())


async def _coordinate(fabric: Fabric, asked: list[ModelRecord]) -> None:
    state = await fabric.keys(STATE)

    async def answer(message: Message) -> bytes:
        record = decode(message.data, AddModel).record
        asked.append(record)
        await state.put(model_key(record.name), encode(record))
        return encode(Done())

    await fabric.serve(ASK_COORDINATOR, answer)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of pictures of one size."""
    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "square", inputs, outputs, [weight])
    path = tmp_path_factory.mktemp("models") / "square.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_is_attached_makes_the_model_take_files_and_give_answers(square: Path, cache: Path) -> None:
    how = Preparation((127.0,) * 3, (128.0,) * 3, "stretch")
    whole = attached(square, "classify", how, cache)
    assert attached(square, "classify", how, cache) == whole
    estimate(whole, cache, 0.05, encoded_bytes=TYPICAL_BYTES)
    by_file = prepare(Addition(str(whole), name="square", preparation=how), cache).record
    assert [(each.name, each.dtype, each.shape) for each in by_file.inputs] == [("encoded", "uint8", (60_000,))]
    assert by_file.dynamic == {"encoded": (0,)} and by_file.task == "classify"
    assert (by_file.pictures.fit, by_file.pictures.height, by_file.pictures.width) == ("stretch", 16, 16)
    assert prepare(Addition(str(square), task="classify", attach=True, preparation=how), cache).record == by_file


def test_what_shall_be_attached_must_be_clear(square: Path, network: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="say --task classify or detect"):
        prepare(Addition(str(square), attach=True), cache)
    with pytest.raises(InputError, match="there is no task 'detct'; did you mean 'detect'"):
        prepare(Addition(str(square), task="detct"), cache)
    with pytest.raises(BadModel, match="has no fixed height and width"):
        prepare(Addition(str(network), task="classify", attach=True), cache)


def test_weights_in_other_files_are_brought_together(network: Path, tmp_path: Path, cache: Path) -> None:
    assert embedded(network, cache) == network
    apart = tmp_path / "apart.onnx"
    onnx.save_model(onnx.load(network), apart, save_as_external_data=True, location="weights.bin", size_threshold=0)
    whole = embedded(apart, cache)
    assert whole.parent == cache / "whole"
    (tmp_path / "weights.bin").unlink()
    (weight,) = onnx.load(whole).graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), np.ones((2, 3, 3, 3), np.float32))


def test_what_cannot_be_added_says_why(network: Path, cache: Path) -> None:
    sizes = {"height": 16}
    with pytest.raises(BadModel, match=r"no such file.*did you mean 'resnet50'"):
        prepare(Addition("resnet5"), cache)
    with pytest.raises(BadShape, match="--size height"):
        prepare(Addition(str(network)), cache)
    with pytest.raises(InputError, match="cannot be the name of a model"):
        prepare(Addition(str(network), name="a.b", sizes=sizes), cache)
    with pytest.raises(BadFile, match="give imagenet, coco, or a text file"):
        prepare(Addition(str(network), sizes=sizes, classes="imagenot"), cache)
