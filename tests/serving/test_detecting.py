"""A trained detector runs in two stages, decoding included: pictures by HTTP, videos by command, answers as uncut."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import onnxruntime
import pytest
from estimated import estimate
from served import Served

from cutwater.lab.adding import TYPICAL_BYTES, attached, usual_preparation
from cutwater.vision.detect import Selection, select_boxes, to_detections
from cutwater.vision.labels import COCO, labels
from cutwater.vision.pictures import Pixels, decode_picture, read_picture
from cutwater.vision.resize import Framing, letterbox
from cutwater.zoo.packages import default_cache
from cutwater.zoo.photographs import photographs
from cutwater.zoo.registry import build

pytestmark = pytest.mark.slow

DETECTOR = "yolov3-tiny"
BIRD, DOG = 14, 0
FRAMES, BROKEN = 12, 5


@pytest.fixture(scope="module")
def detector(shared_cache: Path) -> Iterator[Served]:
    """The detector of the zoo in a cluster of its own, added and deployed as anybody would."""
    network = shared_cache / f"{DETECTOR}.onnx"
    network.write_bytes(build(DETECTOR, default_cache()).read_bytes())
    whole = attached(network, "detect", usual_preparation("detect"), shared_cache)
    estimate(whole, shared_cache, 0.05, encoded_bytes=TYPICAL_BYTES)
    with TemporaryDirectory(prefix="cw-", dir="/tmp") as folder:
        made = Served(Path(folder), shared_cache, network)
        made.up()
        try:
            added = made.type("model", "add", DETECTOR)
            assert (added["task"], added["dynamic"], added["labels"]) == ("detect", {"encoded": [0]}, 80)
            status = made.type("deploy", DETECTOR, "--stages", 2, "--on", "node-1", "--on", "node-2")
            first, second = sorted(status["epochs"][-1]["workers"], key=lambda worker: worker["stage"])
            assert (first["begin"], second["end"], first["node"] != second["node"]) == ("input", "output", True)
            yield made
        finally:
            made.type("down")


@pytest.fixture(scope="module")
def uncut() -> onnxruntime.InferenceSession:
    """The network alone, in ONNX Runtime alone: what is around it is done by hand."""
    return onnxruntime.InferenceSession(build(DETECTOR, default_cache()))


def by_hand(uncut: onnxruntime.InferenceSession, pixels: Pixels) -> list[dict[str, Any]]:
    frame = letterbox(pixels, 416, 416).astype(np.float32) / 255
    (raw,) = uncut.run(None, {"pictures": np.ascontiguousarray(frame.transpose(2, 0, 1))[np.newaxis]})
    framing = Framing.of("letterbox", *pixels.shape[:2], 416, 416)
    return [
        {"label": labels(COCO)[seen.label], "score": seen.score, "box": [seen.x1, seen.y1, seen.x2, seen.y2]}
        for seen in to_detections(select_boxes(raw[0], Selection()), framing)
    ]


def same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [seen["label"] for seen in found] == [seen["label"] for seen in wanted]
    for mine, other in zip(found, wanted, strict=True):
        assert mine["score"] == pytest.approx(other["score"], abs=1e-3)
        np.testing.assert_allclose(mine["box"], other["box"], atol=0.1)


def posted(served: Served, image: bytes, query: str = "", accept: str = "*/*") -> bytes:
    address = f"{served.http}/v1/detect?model={DETECTOR}{query}"
    request = urllib.request.Request(address, image, {"Content-Type": "image/jpeg", "Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def test_the_split_detector_sees_what_the_uncut_one_sees(detector: Served, uncut: onnxruntime.InferenceSession) -> None:
    seen = set()
    for photo in photographs(default_cache())[:8]:
        found = json.loads(posted(detector, photo.path.read_bytes()))
        same(found["detections"], by_hand(uncut, read_picture(photo.path)))
        seen |= {each["label"] for each in found["detections"]}
        assert found["degraded"] is False
    assert {"dog", "chair", "truck"} <= seen


def test_the_annotated_picture_is_the_picture_with_boxes(detector: Served) -> None:
    path = photographs(default_cache())[DOG].path
    drawn = decode_picture(posted(detector, path.read_bytes(), "&annotate=true", "image/png"))
    changed = (drawn != read_picture(path)).any(axis=2)
    (dog,) = json.loads(posted(detector, path.read_bytes()))["detections"]
    left, top, right, bottom = (round(edge) for edge in dog["box"])
    assert (
        changed[(top + bottom) // 2, left - 2 : left + 3].any() and changed[bottom - 2 : bottom + 3, right - 20].any()
    )
    assert not changed[top + 10 : bottom - 10, left + 10 : right - 10].any()


# Videos


def written(path: Path, frames: int, broken: int = -1) -> Path:
    """Frames in JPEG whose brightness counts; every other one shows a bird. One may be no JPEG at all."""
    bird = read_picture(photographs(default_cache())[BIRD].path)[::2, ::2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "yuvj420p"
        for number in range(frames):
            pixels = np.full((256, 320, 3), 20 + 8 * (number % 25), np.uint8)
            if number % 2 == 0:
                pixels[:, :256] = bird
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                if number == broken:
                    garbage = av.Packet(b"no picture" * 100)
                    garbage.pts, garbage.dts, garbage.time_base = packet.pts, packet.dts, packet.time_base
                    garbage.stream = stream
                    packet = garbage
                container.mux(packet)
    return path


def frames_of(path: Path) -> list[Pixels]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def counted(frame: Pixels) -> int:
    """The number a frame's brightness says, read where no bird is and nothing is drawn."""
    return round((float(frame[100:200, 300:].mean()) - 20) / 8)


def infer(served: Served, *words: object) -> "subprocess.Popen[str]":
    """The command, begun."""
    environment = {**os.environ, "CUTWATER_HOME": str(served.home)}
    command = [sys.executable, "-m", "cutwater", "infer", DETECTOR, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_frames_go_in_and_as_many_come_out_in_order(
    detector: Served, uncut: onnxruntime.InferenceSession, tmp_path: Path
) -> None:
    street, out, jsonl = written(tmp_path / "a.avi", FRAMES, BROKEN), tmp_path / "out.mp4", tmp_path / "out.jsonl"
    command = infer(detector, street, "--annotate", out, "--jsonl", jsonl)
    said, told = command.communicate(timeout=60)
    assert command.returncode == 1 and said == "" and f"{FRAMES - 1} answered" in told and "1 failed" in told

    found = [json.loads(line) for line in jsonl.read_text(encoding="utf-8").splitlines()]
    whole = [number for number in range(FRAMES) if number != BROKEN]
    assert [line["frame"] for line in found] == list(range(FRAMES))
    assert [line["frame"] for line in found if "error" in line] == [BROKEN]
    np.testing.assert_allclose([found[number]["time"] for number in whole], np.array(whole) / 25, atol=1e-6)
    birds = [number for number in whole if any(each["label"] == "bird" for each in found[number]["detections"])]
    assert birds == list(range(0, FRAMES, 2))

    before, after = frames_of(written(tmp_path / "whole.avi", FRAMES)), frames_of(out)
    assert [counted(frame) for frame in before] == list(range(FRAMES))
    # Where a frame is missing, the one before it stands once more.
    assert [counted(frame) for frame in after] == [*range(BROKEN), BROKEN - 1, *range(BROKEN + 1, FRAMES)]
    best = by_hand(uncut, before[0])[0]
    assert found[0]["detections"][0]["label"] == best["label"] == "bird"
    # On its way to the model the frame is a JPEG once more.
    np.testing.assert_allclose(found[0]["detections"][0]["box"], best["box"], atol=4)
    left, _, right, bottom = (round(edge) for edge in best["box"])
    assert np.abs(after[0].astype(int) - before[0])[bottom - 6 : bottom + 6, left:right].max() > 60
    assert np.abs(after[1].astype(int) - before[1]).max() < 60, "nothing is drawn where nothing was seen"


def test_an_interrupt_leaves_a_video_that_plays(detector: Served, tmp_path: Path) -> None:
    street, out = written(tmp_path / "a.avi", 200), tmp_path / "out.mp4"
    command = infer(detector, street, "--annotate", out, "--jsonl", "-", "--rate", 30)
    assert command.stdout is not None
    for number in range(5):
        assert json.loads(command.stdout.readline())["frame"] == number
    command.send_signal(signal.SIGINT)
    more, _ = command.communicate(timeout=30)
    assert command.returncode not in (0, 1)
    frames = frames_of(out)
    told = 5 + len(more.splitlines())
    assert told <= len(frames) <= told + 1 < 200
    assert [counted(frame) for frame in frames] == [number % 25 for number in range(len(frames))]


def test_pictures_are_drawn_into_a_folder(detector: Served, tmp_path: Path) -> None:
    photos = [photo.path for photo in photographs(default_cache())[:3]]
    command = infer(detector, *photos, "--annotate", tmp_path / "drawn", "--threshold", 0.5)
    said, told = command.communicate(timeout=60)
    assert command.returncode == 0, told
    assert said.splitlines()[0].startswith(f"{photos[0].name}: dog 56 % (")
    for photo in photos:
        assert read_picture(tmp_path / "drawn" / f"{photo.stem}.jpg").shape == read_picture(photo).shape
