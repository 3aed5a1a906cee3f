"""The exam: a trained classifier, twenty labelled pictures, and what the uncut model says about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.errors import CutwaterError
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.open import open_graph
from cutwater.graph.graph import Graph
from cutwater.lab.inputs import InputOptions, Item, open_inputs
from cutwater.lab.load.checked import TOLERANCE
from cutwater.services.workers.outcome import Outcome
from cutwater.vision.classify import Guess, best_guesses
from cutwater.vision.prepare import Preparation
from cutwater.zoo.efficientnet_lite0 import MEAN, STD
from cutwater.zoo.photographs import Photograph, photographs
from cutwater.zoo.registry import build

MODEL = "efficientnet-lite0"


@dataclass
class Verdict:
    """What the cluster said about one picture, every time it was asked."""

    photograph: Photograph
    whole: Guess
    """The uncut model's best guess."""
    said: Guess
    """The cluster's, the last time."""
    asked: int = 0
    degraded: int = 0
    """Of those, how often the gateway answered by itself."""
    equal: int = 0
    """How often the answer was the uncut model's."""
    right: int = 0
    """How often the best guess was what the picture shows."""
    deviation: float = 0.0
    """Largest deviation of a score from the uncut model's of all times, relative to the largest score."""


@dataclass(frozen=True)
class Exam:
    """The model with its pictures, ready to be asked; `judge` keeps count."""

    graph: Graph
    lattice: Lattice
    path: Path
    items: Sequence[Item]
    """One for each picture."""
    answers: dict[str, NDArray[np.float32]]
    """Picture's name -> the uncut model's scores."""
    verdicts: dict[str, Verdict]

    def judge(self, item: Item, outcome: Outcome | CutwaterError) -> None:
        """Hold an answer against the uncut model's and against the label."""
        if isinstance(outcome, CutwaterError):
            return
        found, wanted = outcome.outputs[self.graph.outputs[0]].astype(np.float32), self.answers[item.name]
        verdict = self.verdicts[item.name]
        verdict.said = best_guesses(found, 1)[0][0]
        deviation = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        verdict.deviation = max(verdict.deviation, deviation)
        verdict.asked += 1
        verdict.degraded += outcome.degraded
        verdict.equal += deviation <= TOLERANCE and verdict.said.label == verdict.whole.label
        verdict.right += verdict.said.label == verdict.photograph.label


def prepare_exam(cache: Path) -> Exam:
    """Fetch weights and pictures (once), build the model, and ask it uncut.

    Raises:
        BadFile: The packages with weights and pictures cannot be fetched.
    """
    path, pictures = build(MODEL, cache), photographs(cache)
    graph = open_graph(path)
    options = InputOptions(Preparation(MEAN, STD))
    items = list(open_inputs([str(each.path) for each in pictures], [graph.tensors[graph.inputs[0]]], options))
    session = OnnxRuntime().load(path.read_bytes())
    answers = {item.name: session.run(item.feeds)[0].astype(np.float32) for item in items}
    session.close()
    verdicts = {}
    for picture in pictures:
        guess = best_guesses(answers[picture.path.name], 1)[0][0]
        verdicts[picture.path.name] = Verdict(picture, guess, guess)
    return Exam(graph, build_lattice(graph), path, items, answers, verdicts)
