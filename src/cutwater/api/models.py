"""What is told of models, and what may be said of their deployment, in the words of both HTTP and gRPC.

The structs are JSON as the protocol writes it, and have the fields of gRPC's messages.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cutwater.api.backend import VERSION, ModelCard
from cutwater.api.backend import Spell as Spent
from cutwater.api.backend import Statistics as Fared
from cutwater.api.requests import UNREADABLE, Contract, Slot
from cutwater.errors import BadSetting, Unsupported

PLATFORM = "onnx"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)


class ConfigTensor(msgspec.Struct, frozen=True):
    """One input or output, as a model's configuration tells of it."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(msgspec.Struct, frozen=True):
    """How a model is served."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    """0: shapes say all, the batch included; stages batch by themselves."""
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    default_model_filename: str
    parameters: Mapping[str, Mapping[str, str]]
    """``standing``, ``task``, ``hash`` and, where it runs, ``stages``."""


class Spell(msgspec.Struct, frozen=True):
    """How often, and how long together."""

    count: int
    ns: int


class InferStatistics(msgspec.Struct, frozen=True):
    """Where the time of requests goes."""

    success: Spell
    fail: Spell
    queue: Spell
    compute_input: Spell
    compute_infer: Spell
    compute_output: Spell
    cache_hit: Spell
    cache_miss: Spell


class BatchStatistics(msgspec.Struct, frozen=True):
    """Requests that were computed together."""

    batch_size: int
    compute_input: Spell
    compute_infer: Spell
    compute_output: Spell


class ModelStatistics(msgspec.Struct, frozen=True):
    """One model at this gateway, since it started."""

    name: str
    version: str
    last_inference: int
    """Milliseconds since 1970; 0: none yet."""
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[BatchStatistics]


class Statistics(msgspec.Struct, frozen=True):
    """Of one model, or of all."""

    model_stats: list[ModelStatistics]


def config_of(contract: Contract) -> ModelConfig:
    """A model's configuration, in Triton's"""
    card = contract.card
    told = {
        "standing": card.standing.value,
        "why": card.why,
        "task": card.task,
        "hash": card.hash,
        "stages": "; ".join(card.stages),
    }
    return ModelConfig(
        name=card.name,
        platform=PLATFORM,
        backend="cutwater",
        max_batch_size=0,
        input=[_config(slot) for slot in contract.inputs.values()],
        output=[_config(slot) for slot in contract.outputs.values()],
        default_model_filename="",
        parameters={name: {"string_value": value} for name, value in told.items() if value},
    )


def options_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a deployment from the parameters of a load request; those in ``config`` go before.

    Raises:
        BadSetting: ``config`` is not the text of a JSON object.
        Unsupported: a file is sent along.
    """
    found = {name: value for name, value in parameters.items() if name != "config"}
    if files := [name for name in found if name.startswith("file:")]:
        raise Unsupported(f"parameter {files[0]!r}: add a model's file with `cutwater model add`, then load it by name")
    config = parameters.get("config")
    if config is None:
        return found
    try:
        return {**found, **msgspec.json.decode(config, type=dict[str, Any])}
    except (*UNREADABLE, TypeError) as error:
        raise BadSetting(f"parameter 'config' is the text of a JSON object with options: {error}") from None


def _config(slot: Slot) -> ConfigTensor:
    return ConfigTensor(slot.name, slot.datatype.config, list(slot.shape))


def _spell(spent: Spent) -> Spell:
    return Spell(spent.count, round(spent.seconds * 1e9))


def fared_of(card: ModelCard, fared: Fared) -> ModelStatistics:
    """How a model fared, in Triton's words."""
    none = Spell(0, 0)
    return ModelStatistics(
        name=card.name,
        version=VERSION,
        last_inference=round(fared.last * 1e3),
        inference_count=fared.success.count,
        execution_count=sum(spent.count for spent in fared.batches.values()),
        inference_stats=InferStatistics(
            success=_spell(fared.success),
            fail=_spell(fared.fail),
            queue=_spell(fared.queue),
            compute_input=_spell(fared.entry),
            compute_infer=_spell(fared.compute),
            compute_output=_spell(fared.exit),
            cache_hit=none,
            cache_miss=none,
        ),
        batch_stats=[
            BatchStatistics(size, compute_input=none, compute_infer=_spell(spent), compute_output=none)
            for size, spent in sorted(fared.batches.items())
        ],
    )
