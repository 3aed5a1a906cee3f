"""Turns a PyTorch module into an ONNX file; the only place that imports torch."""

import contextlib
import importlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutwater.errors import BadModel, BadShape, InputError, MissingExtra

OPSET = 20
_SPEC = re.compile(r"^(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<dtype>[a-z]+\d*):)?(?P<shape>\d+(?:x\d+)*)$")


@dataclass(frozen=True)
class InputSpec:
    """One input of the module, with the shape it has at batch 1."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    """A numpy dtype name."""


def parse_input_spec(text: str, position: int = 0) -> InputSpec:
    """``"1x3x224x224"``, ``"ids=int64:1x128"`` -> InputSpec; unnamed inputs are called ``input``, ``input1``, ...

    Raises:
        BadShape: Anything else.
    """
    match = _SPEC.match(text.strip())
    if match is None:
        raise BadShape(f"{text!r} is not an input; write it like '1x3x224x224' or 'ids=int64:1x128'")
    shape = tuple(int(size) for size in match["shape"].split("x"))
    dtype = match["dtype"] or "float32"
    if 0 in shape:
        raise BadShape(f"{text!r} has a dimension of 0; every dimension is at least 1")
    if dtype not in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"):
        raise BadShape(f"{text!r} has the unknown type {dtype!r}; types are numpy's: float32, int64, uint8, ...")
    return InputSpec(match["name"] or (f"input{position}" if position else "input"), shape, dtype)


def export(
    target: str,
    inputs: Sequence[InputSpec],
    path: str | Path,
    opset: int = OPSET,
    dynamic_batch: bool = True,
) -> Path:
    """Write the module that a factory makes as an ONNX file, layer names included.

    Args:
        target: "package.module:factory"; the factory takes no arguments and returns a `torch.nn.Module`. A module's
            attribute that already is one will do.
        inputs: What the module's ``forward`` takes, in order.
        path: Where to write the model.
        opset: Version of the standard operator set.
        dynamic_batch: Whether the first axis of every input may have any size.

    Returns:
        ``path``.

    Raises:
        MissingExtra: PyTorch or its exporter is not installed.
        InputError: ``target`` does not lead to a module.
        BadModel: The module cannot be exported, or does not run on such inputs.
    """
    torch = _torch()
    module = _make_module(target, torch).eval()
    rng = np.random.default_rng(0)
    examples = tuple(torch.from_numpy(_example(spec, rng)) for spec in inputs)
    path = Path(path)
    try:
        with torch.no_grad():
            module(*examples)
        with _quiet():
            program = torch.onnx.export(
                module,
                _doubled(examples, torch) if dynamic_batch else examples,
                input_names=[spec.name for spec in inputs],
                opset_version=opset,
                dynamo=True,
                dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs) if dynamic_batch else None,
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        first = str(error).strip().partition("\n")[0]
        raise BadModel(f"{target} cannot be exported for inputs {_described(inputs)}: {first}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
    return path


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401  (torch.onnx fails late and unclearly without it)
        import torch
    except ImportError as error:
        raise MissingExtra(
            f"exporting PyTorch modules needs {error.name}, of the extra `torch`: "
            "pip install 'cutwater[torch]', or '.[torch]' in its source folder"
        ) from error
    return torch


def _make_module(target: str, torch: Any) -> Any:
    location, colon, attribute = target.partition(":")
    if not (location and colon and attribute):
        raise InputError(f"{target!r} names no module; write it like 'package.module:factory'")
    try:
        found = importlib.import_module(location)
    except ImportError as error:
        raise InputError(f"cannot import {location!r} of {target!r}: {error}; is its folder on PYTHONPATH?") from error
    factory = getattr(found, attribute, None)
    if factory is None:
        raise InputError(f"{location!r} has no {attribute!r}; look for the name of the function that makes the module")
    if isinstance(factory, torch.nn.Module):
        return factory
    if not callable(factory):
        raise InputError(
            f"{target!r} is of type {type(factory).__name__}; name a function or class that makes the module"
        )
    try:
        module = factory()
    except TypeError as error:
        raise InputError(f"calling {target}() failed: {error}; the factory must need no arguments") from error
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{target}() made an object of type {type(module).__name__}; it must return a torch.nn.Module")
    return module


def _example(spec: InputSpec, rng: np.random.Generator) -> Any:
    """Random numbers for floats; zeros, a valid index everywhere, for whole numbers."""
    dtype = np.dtype(spec.dtype)
    return (rng.standard_normal(spec.shape) if dtype.kind == "f" else np.zeros(spec.shape)).astype(dtype)


def _doubled(examples: Sequence[Any], torch: Any) -> tuple[Any, ...]:
    """The examples at twice the batch: the exporter takes a size of 1 for a constant."""
    return tuple(torch.cat([example, example]) for example in examples)


def _described(inputs: Sequence[InputSpec]) -> str:
    return ", ".join(f"{spec.name}={spec.dtype}:{'x'.join(map(str, spec.shape))}" for spec in inputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks to stdout, warnings and logs even when all is well."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
