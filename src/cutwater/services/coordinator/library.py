"""Library: the models a planner works with, read from a folder of blobs, and the stages it cuts, written there.

Reading a model and finding its cuts takes seconds; so the last few are kept in memory, and stages on disk.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from cutwater.cut.cut import Cut
from cutwater.cut.form import Form
from cutwater.cut.lattice import Lattice, build_lattice
from cutwater.cut.split import extract
from cutwater.engine.facts.deployments import StagePart
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import BadFile, BadModel
from cutwater.frameworks.open import observe_shapes
from cutwater.graph.model import read_model
from cutwater.graph.read import build_graph
from cutwater.profile.files import load_profile
from cutwater.profile.profile import Profile
from cutwater.units import StageId

MODELS = 4
"""How many models are kept in memory."""
MODEL_BYTES = 2 * 2**30
"""How large their files may be together; the newest one stays whatever its size."""


@dataclass(frozen=True)
class Subject:
    """One model, ready to be planned for."""

    lattice: Lattice
    profile: Profile
    nbytes: int


class Library:
    """A folder of files called by their sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._subjects: OrderedDict[tuple[str, str, str], Subject] = OrderedDict()
        self._parts: dict[tuple[str, int, int, Form, Form], StagePart] = {}

    def subject(self, record: ModelRecord) -> Subject:
        """The model and its profile.

        Raises:
            BadModel, BadShape, BadFile: a blob of the record is missing, or is not what the record says.
        """
        key = (record.name, record.hash, record.profile)
        if key not in self._subjects:
            self._subjects[key] = self._read(record)
        self._subjects.move_to_end(key)
        while len(self._subjects) > 1 and (len(self._subjects) > MODELS or self._held() > MODEL_BYTES):
            self._subjects.popitem(last=False)
        return self._subjects[key]

    def part(self, subject: Subject, stage: StageId, begin: Cut, end: Cut, enter: Form, leave: Form) -> StagePart:
        """A stage, cut out and stored under its hash. Raises BadCut, BadModel."""
        graph = subject.lattice.graph
        key = (graph.hash, begin.before, end.before, enter, leave)
        known = self._parts.get(key)
        if known is None or not (self.folder / known.blob).exists():
            cut = extract(graph, begin, end, enter, leave)
            self._store(cut.hash, cut.onnx)
            known = StagePart(
                stage=stage,
                blob=cut.hash,
                nbytes=len(cut.onnx),
                inputs=cut.inputs,
                outputs=cut.outputs,
                batchable=cut.batchable,
            )
            self._parts[key] = known
        return StagePart(**{name: getattr(known, name) for name in known.__struct_fields__} | {"stage": stage})

    def _read(self, record: ModelRecord) -> Subject:
        path = self.folder / record.blob
        model = replace(read_model(path), name=record.name, source=record.name)
        sizes = {f"{name}:{axis}": size for name, shape in record.sizes.items() for axis, size in enumerate(shape)}
        graph = build_graph(model, sizes, observe_shapes(model, sizes))
        if graph.hash != record.hash:
            raise BadModel(f"{record.name}: its file is not the model it was added as; add it again")
        profile = load_profile(self.folder / record.profile)
        if profile.model_hash != graph.hash:
            raise BadFile(f"{record.name}: its profile was measured on another model; add it again")
        return Subject(build_lattice(graph), profile, path.stat().st_size)

    def _store(self, name: str, data: bytes) -> None:
        """Nobody ever sees half a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f"{name}.{os.getpid()}.fresh"
        fresh.write_bytes(data)
        fresh.replace(self.folder / name)

    def _held(self) -> int:
        return sum(subject.nbytes for subject in self._subjects.values())
