"""Adding a model to a cluster: opened, checked, measured here, and stored with its profile where the nodes find it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
import onnx
from google.protobuf.message import EncodeError

from cutwater.engine.cluster import ModelRecord, Pictures
from cutwater.errors import BadFile, BadModel, did_you_mean
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
from cutwater.vision.labels import COCO, IMAGENET, labels
from cutwater.vision.prepare import Preparation
from cutwater.wire.codecs.registry import CODEC_NAMES
from cutwater.zoo.packages import write_atomically
from cutwater.zoo.registry import MODELS, Entry, build

LOSSLESS = tuple(name for name in CODEC_NAMES if name.partition("+")[0] == "raw")
"""Codecs measured unless others are asked for."""
_BLOCK = 2**20
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
    classes: str = ""
    """What a classifier's classes are called: "imagenet", "coco", or a file with one name per line."""
    preparation: Preparation | None = None
    """How it wants its pictures."""
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
        BadModel: no such file or model, or not a valid one.
        BadShape: a dynamic dimension without a size.
        InputError: a name that cannot be one, or no such list of classes.
    """
    path, known = _locate(addition.source, cache)
    name = addition.name or re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_")
    check_name("model", name)
    classes = _class_names(addition.classes or (known.labels if known is not None else ""))
    file = embedded(path, cache)
    graph = open_graph(file, addition.sizes or (known.sizes if known is not None else {}))
    preparation = addition.preparation or (known.preparation if known is not None else None) or Preparation()
    tensors = [graph.tensors[each] for each in graph.inputs]
    requests = good_feeds(open_inputs(list(addition.inputs), tensors, InputOptions(preparation)), 3)
    profile = profile_for(graph, requests, cache / "profiles", codecs=addition.codecs, progress=progress)
    progress("this machine's speed", 1.0)
    saved = cache / "profiles" / f"{name}-{graph.hash[:12]}.added.yaml"
    save_profile(profile, saved)
    record = ModelRecord(
        name=name,
        hash=graph.hash,
        blob=_hash(file),
        nbytes=file.stat().st_size,
        profile=_hash(saved),
        speed=machine_speed(cache),
        sizes=_dynamic_sizes(file, graph),
        inputs=tuple(tensors),
        outputs=tuple(graph.tensors[each] for each in graph.outputs),
        pictures=Pictures(mean=preparation.mean, std=preparation.std, fit=preparation.fit, share=preparation.share),
        labels=classes,
        task="classify" if classes else "",
    )
    return Added(record, file, saved)


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
        whole.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(whole, data)
    return whole


def _locate(source: str, cache: Path) -> tuple[Path, Entry | None]:
    path = Path(source)
    if path.is_file():
        return path, None
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


def _dynamic_sizes(file: Path, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Input -> its shape here, of the inputs whose file leaves a dimension open."""
    return {
        value.name: graph.tensors[value.name].shape
        for value in read_model(file).inputs
        if any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }


def _hash(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
