"""The port behind which an inference engine runs stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs a stage."""

    threads: int = 1
    """Threads inside one op. With several stages on one machine, one thread each is fastest."""
    optimise: bool = True
    """Whether the engine may rewrite the graph; off, a split model gives the same bits as the whole one."""
    profile: bool = False
    """Whether to record how long each op takes."""


class Session(Protocol):
    """A loaded stage. Not thread-safe: one caller at a time."""

    inputs: Sequence[str]
    outputs: Sequence[str]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs in the order of ``outputs``. Raises StageFailed; BadTensor for a wrong name, type or shape."""
        ...

    def op_times(self) -> Mapping[str, list[float]]:
        """Op name -> seconds of each run since loading; only with ``profile``. Ends recording."""
        ...

    def close(self) -> None:
        """Free the engine's memory."""
        ...


class Framework(Protocol):
    """An inference engine."""

    @property
    def name(self) -> str:
        """What it is called in profiles and messages."""
        ...

    def load(self, onnx: bytes, options: EngineOptions = EngineOptions()) -> Session:
        """A session ready to run. Raises BadModel."""
        ...
