"""The snippets of the guide run as they stand, against models of the names they use."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from client_bed import Gateway
from PIL import Image
from two_x import TwoX, card, tensor

from cutwater.api.backend import Feeds
from cutwater.frameworks.base import Array
from cutwater.services.background import Record, birth
from cutwater.services.home import Home

GUIDE = Path(__file__).parents[2] / "docs" / "client.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def brightest(feeds: Feeds) -> Mapping[str, Array]:
    """Class scores from the first pixels' brightness."""
    return {"logits": feeds["pictures"].reshape(1, -1)[:, :1000]}


def one_box(feeds: Feeds) -> Mapping[str, Array]:
    return {"boxes": np.array([[[8, 8, 32, 32, 0.9, 1]]], np.float32)}


class Offering(TwoX):
    """The models of the guide."""

    def __init__(self) -> None:
        super().__init__()
        pictures, logits = tensor("pictures", "float32", 1, 3, 224, 224), tensor("logits", "float32", 1, 1000)
        labels = tuple(f"class {k}" for k in range(1000))
        classifier = card("efficientnet-lite0", [pictures], [logits], task="classify", labels=labels)
        detector = card("yolov3-tiny", [pictures], [tensor("boxes", "float32", 1, 1, 6)], task="detect", labels=labels)
        self._models = {"efficientnet-lite0": (classifier, brightest), "yolov3-tiny": (detector, one_box)}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    gateway = Gateway(backend=Offering())
    home = Home(tmp_path)
    home.make()
    born, facts = birth(os.getpid()) or "", {"http": gateway.url}
    record = Record(name="gateway", pid=os.getpid(), birth=born, since="", facts=facts, serving=True)
    home.record("gateway").write_bytes(msgspec.json.encode(record))
    monkeypatch.setenv("CUTWATER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "street.jpg"):
        Image.new("RGB", (64, 48), "teal").save(name)
    yield gateway
    gateway.close()


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(served: Gateway, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(SNIPPETS[number].replace("http://localhost:8000", served.url), f"snippet {number}", "exec"), {})
    assert capsys.readouterr().out.strip()
    assert len(SNIPPETS) == 5
