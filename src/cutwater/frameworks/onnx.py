"""ONNX Runtime: loads a stage, runs it, says how long each op took."""

import gc
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from cutwater.errors import BadModel, BadTensor, InputError, StageFailed
from cutwater.frameworks.base import Array, EngineOptions, Session
from cutwater.vision.host_ops import HOST_DOMAIN

if TYPE_CHECKING:
    from cutwater.frameworks.segments import HostOp

CPU = "CPUExecutionProvider"

_ENGINE_ERRORS = tuple(
    value for value in vars(_state).values() if isinstance(value, type) and issubclass(value, Exception)
)
_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(string)": np.dtype(np.object_),
    **{
        f"tensor({name})": np.dtype(name)
        for name in (
            "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
        )
    },
}  # fmt: skip
_QUIET = 4
"""ONNX Runtime's severity "fatal": what goes wrong reaches the caller as an exception, not as text on stderr."""


@dataclass(frozen=True)
class OnnxRuntime:
    """The engine that runs stages in production; a member of `cutwater.frameworks.base.Framework`."""

    providers: tuple[str, ...] = (CPU,)
    """Execution providers, the preferred one first ("CUDAExecutionProvider"); the CPU always helps out at the end."""
    name: str = "onnxruntime"

    def load(self, onnx: bytes, options: EngineOptions = EngineOptions()) -> Session:  # noqa: B008
        """A session ready to run ``onnx``, host ops included. Raises BadModel; InputError for an unknown provider."""
        unknown = set(self.providers) - set(onnxruntime.get_available_providers())
        if unknown:
            available = ", ".join(onnxruntime.get_available_providers())
            raise InputError(f"no execution provider {', '.join(sorted(unknown))} here; available: {available}")
        if HOST_DOMAIN.encode() in onnx:
            return SegmentedSession.load(onnx, options, self.providers)
        return OnnxSession(onnx, options, self.providers)


class OnnxSession:
    """A stage that ONNX Runtime runs alone."""

    def __init__(self, onnx: bytes, options: EngineOptions, providers: Sequence[str] = (CPU,)) -> None:
        self._profile_folder = tempfile.TemporaryDirectory(prefix="cutwater-") if options.profile else None
        try:
            self._session = onnxruntime.InferenceSession(
                onnx, _session_options(options, self._profile_folder), providers=list(dict.fromkeys((*providers, CPU)))
            )
        except _ENGINE_ERRORS as error:
            if self._profile_folder is not None:
                self._profile_folder.cleanup()
            raise BadModel(f"ONNX Runtime cannot load the model: {_reason(error)}") from error
        # The wrapper keeps the file's bytes for as long as it lives, which would hold the weights twice.
        self._session._model_bytes = None
        self._specs = {spec.name: _Spec(spec) for spec in self._session.get_inputs()}
        self.inputs: Sequence[str] = tuple(self._specs)
        self.outputs: Sequence[str] = tuple(spec.name for spec in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs in the order of ``outputs``. Raises StageFailed; BadTensor for a wrong name, type or shape."""
        check_names(feeds, self.inputs)
        for name, spec in self._specs.items():
            spec.check(feeds[name])
        try:
            outputs: list[Array] = self._session.run(self.outputs, feeds)
        except _ENGINE_ERRORS as error:
            raise StageFailed(f"ONNX Runtime stopped: {_reason(error)}") from error
        return outputs

    def op_times(self) -> Mapping[str, list[float]]:
        """Node name -> seconds of each run since loading, under the names of the optimised graph. Ends recording."""
        if self._profile_folder is None:
            raise InputError("this session was loaded without `profile`; load it with EngineOptions(profile=True)")
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        self._profile_folder.cleanup()
        times: dict[str, list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times[event["name"].removesuffix("_kernel_time")].append(event["dur"] * 1e-6)
        return dict(times)

    def output_types(self) -> dict[str, np.dtype[Any]]:
        """Output name -> numpy type, for outputs whose type numpy has."""
        return {spec.name: _DTYPES[spec.type] for spec in self._session.get_outputs() if spec.type in _DTYPES}

    def close(self) -> None:
        """Free the engine's memory."""
        if self._profile_folder is not None:
            self._profile_folder.cleanup()
        del self._session
        gc.collect()


class SegmentedSession:
    """A stage with ops the engine does not have: parts for ONNX Runtime and host ops, run in turn."""

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str], parts: Sequence["OnnxSession | _HostPart"]):
        self.inputs = inputs
        self.outputs = outputs
        self._parts = parts

    @classmethod
    def load(cls, onnx: bytes, options: EngineOptions, providers: Sequence[str] = (CPU,)) -> Self:
        """Load every part of the stage. Raises BadModel."""
        # Brings the onnx package, which workers without host ops do without to stay small.
        from cutwater.frameworks.segments import HostOp, split_at_host_ops

        parts: list[OnnxSession | _HostPart] = []
        plan = split_at_host_ops(onnx)
        types: dict[str, np.dtype[Any]] = {}
        for segment in plan.segments:
            if isinstance(segment, HostOp):
                parts.append(_HostPart(segment, timed=options.profile))
                continue
            session = OnnxSession(segment.onnx(types), options, providers)
            types.update(session.output_types())
            parts.append(session)
        return cls(plan.inputs, plan.outputs, parts)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs in the order of ``outputs``. Raises StageFailed, BadTensor, and what the host ops raise."""
        check_names(feeds, self.inputs)
        values = dict(feeds)
        for part in self._parts:
            found = part.run({name: values[name] for name in part.inputs})
            values.update(zip(part.outputs, found, strict=True))
        return [values[name] for name in self.outputs]

    def op_times(self) -> Mapping[str, list[float]]:
        """Node name -> seconds of each run since loading. Ends recording."""
        return {name: seconds for part in self._parts for name, seconds in part.op_times().items()}

    def close(self) -> None:
        """Free the engine's memory."""
        for part in self._parts:
            part.close()
        self._parts = ()


class _HostPart:
    """One host op, dressed as a session."""

    def __init__(self, op: "HostOp", *, timed: bool) -> None:
        self.inputs: Sequence[str] = op.dynamic_inputs
        self.outputs: Sequence[str] = op.outputs
        self._op = op
        self._timed = timed
        self._seconds: list[float] = []

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        began = time.perf_counter()
        outputs = self._op.call(feeds)
        if self._timed:
            self._seconds.append(time.perf_counter() - began)
        return outputs

    def op_times(self) -> Mapping[str, list[float]]:
        return {self._op.name: self._seconds}

    def close(self) -> None:
        self._seconds.clear()


class _Spec:
    """What an input must look like, as ONNX Runtime states it."""

    def __init__(self, spec: Any) -> None:
        self.name: str = spec.name
        self.dtype = _DTYPES.get(spec.type)
        self.shape: tuple[int | str | None, ...] = tuple(spec.shape)
        self._fixed = [(axis, size) for axis, size in enumerate(self.shape) if isinstance(size, int)]

    def check(self, value: Array) -> None:
        # ONNX Runtime states an unknown rank as it states a scalar: as no dimensions at all.
        fits = not self.shape or (
            value.ndim == len(self.shape) and all(value.shape[axis] == size for axis, size in self._fixed)
        )
        if fits and (self.dtype is None or value.dtype == self.dtype):
            return
        wanted = f"{self.dtype or 'the declared type'} [{', '.join(str(size or '?') for size in self.shape)}]"
        given = f"{value.dtype} [{', '.join(map(str, value.shape))}]"
        raise BadTensor(f"input {self.name!r} must be {wanted}, not {given}")


def check_names(feeds: Mapping[str, Array], inputs: Sequence[str]) -> None:
    """Raise BadTensor unless ``feeds`` holds exactly ``inputs``."""
    if len(feeds) == len(inputs) and all(name in feeds for name in inputs):
        return
    raise BadTensor(f"the inputs are {_listed(inputs)}; given were {_listed(feeds)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _session_options(options: EngineOptions, profile_folder: "tempfile.TemporaryDirectory[str] | None") -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    # Threads that spin while waiting take the cores away from the other stages on this machine.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights live as long as the session: in the arena they would only make its blocks larger than needed.
    settings.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    settings.log_severity_level = _QUIET
    if not options.optimise:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile_folder is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(profile_folder.name) / "ops")
    return settings


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its prefix of codes."""
    text = str(error)
    return text.split(" : ", 3)[-1].strip() if text.startswith("[ONNXRuntimeError]") else text
