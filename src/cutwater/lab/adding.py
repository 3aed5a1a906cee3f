"""Adding a model to a cluster: opened, checked, measured here, and stored with its profile where the nodes find it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import onnx
from google.protobuf.message import EncodeError

from cutwater.engine.facts.models import ModelRecord, Pictures
from cutwater.errors import BadFile, BadModel, InputError, did_you_mean
from cutwater.fabric.base import Blobs, Fabric
from cutwater.frameworks.open import open_graph
from cutwater.graph.graph import Graph
from cutwater.graph.model import read_model
from cutwater.graph.tensors import is_external
from cutwater.lab.inputs import InputOptions, good_feeds, open_inputs
from cutwater.lab.measure import Progress
from cutwater.lab.profiles import profile_for
from cutwater.profile.files import save_profile
from cutwater.services.asking import AddModel, Done, ask_coordinator
from cutwater.services.facts import STATE, decode, model_key
from cutwater.services.speed import machine_speed
from cutwater.units import Seconds, check_name
from cutwater.vision.attach import ENCODED_BYTES, Frame, attach_classifier, attach_detector, attached_frame
from cutwater.vision.detect import Selection
from cutwater.vision.labels import COCO, IMAGENET, labels
from cutwater.vision.prepare import Preparation
from cutwater.vision.task import CLASSIFY, DETECT, TASKS, recognised_task
from cutwater.wire.codecs.registry import CODEC_NAMES
from cutwater.zoo.packages import write_atomically
from cutwater.zoo.registry import MODELS, Entry, build

LOSSLESS = tuple(name for name in CODEC_NAMES if name.partition("+")[0] == "raw")
"""Codecs measured unless others are asked for."""
_BLOCK = 2**20
TYPICAL_BYTES = 60_000
"""Of an encoded picture, where nobody says: a JPEG at the resolution networks look at."""
LOWEST_SCORE = 0.05
"""Boxes below it never leave a detector."""
_OWN = Entry("a person's own", lambda _: onnx.ModelProto())
"""What the zoo knows of a file that is not of the zoo: nothing."""
ANSWER: Seconds = 10.0
"""Time for the coordinator to take the model in."""


@dataclass(frozen=True)
class Addition:
    """What a person says of a model to be added; what is left empty, a model of the zoo knows by itself."""

    source: str
    """An ONNX file, or the name of a model of the zoo."""
    name: str = ""
    """How the cluster shall call it; default: as the file is called."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Dynamic dimension -> size."""
    task: str = ""
    """What it answers, one of `TASKS`; empty: as its outputs tell, where they leave no doubt."""
    classes: str = ""
    """What its classes are called: "imagenet", "coco", or a file with one name per line."""
    preparation: Preparation | None = None
    """How it wants its pictures."""
    attach: bool | None = None
    """Whether decoding the picture and choosing the answer become ops of the model, placed like any other; None: for
    detectors of the zoo. Such a model takes pictures as their files hold them."""
    inputs: Sequence[str] = ("synthetic:3",)
    """What it is measured with."""
    codecs: Sequence[str] = LOSSLESS
    """Which may be chosen between stages."""


@dataclass(frozen=True)
class Added:
    """A model with the files that belong to it, ready to be stored."""

    record: ModelRecord
    file: Path
    """The model, weights inside."""
    profile: Path


def prepare(addition: Addition, cache: Path, progress: Progress = lambda what, share: None) -> Added:
    """Open, check and measure a model.

    Args:
        addition: what to add.
        cache: where models of the zoo and profiles are kept; what was measured before is not measured again.
        progress: told what is done.

    Raises:
        BadModel: no such file or model, not a valid one, or one that nothing can be attached to.
        BadShape: a dynamic dimension without a size.
        InputError: a name that cannot be one, or no such list of classes.
    """
    path, known = _locate(addition.source, cache)
    name = addition.name or re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_")
    check_name("model", name)
    if addition.task not in ("", *TASKS):
        raise InputError(f"there is no task {addition.task!r}{did_you_mean(addition.task, TASKS)}")
    classes = _class_names(addition.classes or known.labels)
    task = addition.task or known.task
    preparation = addition.preparation or known.preparation or usual_preparation(task)
    file = embedded(path, cache)
    if addition.attach or (addition.attach is None and known.task == DETECT):
        file = attached(file, task, preparation, cache)
    frame = attached_frame(read_model(file).proto)
    usual = known.sizes if frame is None else {ENCODED_BYTES: TYPICAL_BYTES, **known.sizes}
    graph = open_graph(file, {**usual, **addition.sizes})
    tensors = [graph.tensors[each] for each in graph.inputs]
    requests = good_feeds(open_inputs(list(addition.inputs), tensors, InputOptions(preparation)), 3)
    profile = profile_for(graph, requests, cache / "profiles", codecs=addition.codecs, progress=progress)
    progress("this machine's speed", 1.0)
    saved = cache / "profiles" / f"{name}-{graph.hash[:12]}.added.yaml"
    save_profile(profile, saved)
    outputs = tuple(graph.tensors[each] for each in graph.outputs)
    record = ModelRecord(
        name=name,
        hash=graph.hash,
        blob=_hash(file),
        nbytes=file.stat().st_size,
        profile=_hash(saved),
        speed=machine_speed(cache),
        sizes=_dynamic_sizes(file, graph),
        dynamic=_open_axes(file),
        inputs=tuple(tensors),
        outputs=outputs,
        pictures=_pictures(preparation, frame),
        labels=classes,
        task=task or recognised_task(outputs, len(classes)) or (CLASSIFY if classes else ""),
    )
    return Added(record, file, saved)


def usual_preparation(task: str) -> Preparation:
    """How models of a task want their pictures, where nobody says."""
    return Preparation(fit="letterbox") if task == DETECT else Preparation()


def attached(file: Path, task: str, preparation: Preparation, cache: Path) -> Path:
    """A copy in ``cache`` of a classifier or detector that takes a picture's file and gives the answer.

    Raises:
        InputError: it is not said which of them it is.
        BadModel: it has inputs or outputs that nothing can be attached to.
    """
    if task not in TASKS:
        raise InputError(f"{file.name}: what shall be attached depends on its task; say --task {' or '.join(TASKS)}")
    network = read_model(file).proto
    if task == DETECT:
        # Requests choose their own threshold, above this one; overlaps are decided from the best box down, so that
        # boxes that are let in below it change nothing above.
        whole = attach_detector(network, preparation, Selection(score=LOWEST_SCORE))
    else:
        whole = attach_classifier(network, preparation)
    data = whole.SerializeToString(deterministic=True)
    made = cache / "whole" / f"{file.stem}-{sha256(data).hexdigest()[:12]}.onnx"
    if not made.exists():
        write_atomically(made, data)
    return made


def _pictures(preparation: Preparation, frame: Frame | None) -> Pictures:
    if frame is not None:
        preparation = replace(preparation, fit=frame.preparation.fit, share=frame.preparation.share)
    return Pictures(
        mean=preparation.mean,
        std=preparation.std,
        fit=preparation.fit,
        share=preparation.share,
        height=frame.height if frame is not None else 0,
        width=frame.width if frame is not None else 0,
    )


async def known_as(fabric: Fabric, name: str) -> ModelRecord | None:
    """What the cluster knows of a model; None: nothing. Raises FabricLost."""
    entry = await (await fabric.keys(STATE)).get(model_key(name))
    return None if entry is None or entry.value is None else decode(entry.value, ModelRecord)


async def add_model(fabric: Fabric, added: Added, progress: Callable[[int, int], None] = lambda done, of: None) -> bool:
    """Store a model and its profile, and have the coordinator know it; False if it knew it already.

    What was measured first stays: another measurement of the same model does not make it another model.

    Raises:
        FabricLost, NoReply: the fabric, or a coordinator, is not there.
        CutwaterError: why the coordinator does not take it.
    """
    record = added.record
    known = await known_as(fabric, record.name)
    if known is not None and known == msgspec.structs.replace(record, profile=known.profile, speed=known.speed):
        blobs = fabric.blobs
        if await blobs.find(known.blob) is not None and await blobs.find(known.profile) is not None:
            return False
    await _store(fabric.blobs, added.file, record.blob, progress)
    await _store(fabric.blobs, added.profile, record.profile)
    await ask_coordinator(fabric, AddModel(record), Done, ANSWER)
    return True


async def _store(
    blobs: Blobs, file: Path, expected: str, progress: Callable[[int, int], None] = lambda done, of: None
) -> None:
    ref = await blobs.put(file, progress)
    if ref.hash != expected:
        raise BadFile(f"{file} has changed while it was being added; add it again")


def embedded(path: Path, cache: Path) -> Path:
    """The model in one file: ``path`` itself, or a copy in ``cache`` where its weights lie in other files.

    Raises:
        BadModel: it cannot be read, is no valid model, or is over 2 GiB with its weights inside.
    """
    proto = read_model(path).proto
    if not any(is_external(weight) for weight in proto.graph.initializer):
        return path
    try:
        data = onnx.load_model(str(path)).SerializeToString(deterministic=True)
    except (ValueError, EncodeError) as error:
        raise BadModel(f"{path}: over 2 GiB with its weights inside, which one ONNX file cannot hold") from error
    whole = cache / "whole" / f"{path.stem}-{sha256(data).hexdigest()[:12]}.onnx"
    if not whole.exists():
        write_atomically(whole, data)
    return whole


def _locate(source: str, cache: Path) -> tuple[Path, Entry]:
    """The file, and what the zoo knows of it."""
    path = Path(source)
    if path.is_file():
        return path, _OWN
    if source in MODELS:
        return build(source, cache), MODELS[source]
    raise BadModel(f"{source}: no such file, and no model of the zoo{did_you_mean(source, MODELS)}")


def _class_names(which: str) -> tuple[str, ...]:
    if not which:
        return ()
    if which in (IMAGENET, COCO):
        return labels(which)
    try:
        lines = Path(which).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(
            f"{which}: cannot read the names of classes ({error}); give {IMAGENET}, {COCO}, or a text file with one "
            "name per line"
        ) from error
    return tuple(line.strip() for line in lines)


def _open_axes(file: Path) -> dict[str, tuple[int, ...]]:
    """Input -> the dimensions its file leaves open, where there are any."""
    found = {
        value.name: tuple(
            axis for axis, dim in enumerate(value.type.tensor_type.shape.dim) if not dim.HasField("dim_value")
        )
        for value in read_model(file).inputs
    }
    return {name: axes for name, axes in found.items() if axes}


def _dynamic_sizes(file: Path, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Input -> its shape here, of the inputs whose file leaves a dimension open."""
    return {name: graph.tensors[name].shape for name in _open_axes(file)}


def _hash(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
