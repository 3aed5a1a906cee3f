"""Profile: the measured costs of one model on one device, with spread and provenance."""

import msgspec


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured number that carries its doubt."""

    median: float
    spread: float
    """Distance between the quartiles, in the unit of the median."""
    rounds: int


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Under which conditions the numbers of a Profile were taken."""

    device: str
    """What the machine is: processor and number of cores."""
    cores: int
    threads: int
    """Threads of the inference engine while measuring."""
    batch: int
    busy_cores: int
    """How many other cores ran the same work while measuring."""
    versions: dict[str, str]
    """Package or "python" -> version."""
    measured_at: str
    """ISO 8601, UTC."""


class Rest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a pause before a request costs a stage: ``most * (1 - exp(-pause / time))``."""

    most: float = 0.0
    """Seconds, after a long one."""
    time: float = 1.0
    """Seconds after which 63 % of that is due."""


class StageSample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stage that was run for itself, beside what its ops had predicted."""

    begin: str
    """`Cut.before` as hexadecimal text."""
    end: str
    seconds: Sample
    predicted: float
    """Seconds predicted from op times before this measurement was taken into account."""
    peak_memory: int
    """Bytes of resident memory the stage added, weights included."""
    rest: Rest = Rest()
    """What pauses add to the seconds; nothing where it was not measured."""
    as_run: bool = False
    """Whether it was run as in a pipeline of its plan; otherwise again and again for itself, on inputs in cache."""


class BorderSample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One codec on the real activations of one cut."""

    cut: str
    """`Cut.before` as hexadecimal text."""
    codec: str
    nbytes: float
    """Mean size on the wire, in bytes for one request."""
    encode: float
    """Seconds of CPU to encode one request's border, conversion inside the stage's graph included."""
    decode: float
    error: float
    """Relative deviation of the model's outputs, max |y' - y| / max |y|, when only this hop uses the codec."""


class FrameCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CPU time one end of a link spends on a frame: ``fixed + per_byte * size``."""

    fixed: float = 0.0
    """Seconds per frame."""
    per_byte: float = 0.0
    """Seconds per byte."""


class LocalHop(msgspec.Struct, frozen=True):
    """What a frame between two workers of one machine takes."""

    latency: float
    """Seconds an empty frame is on its way, beside what both ends spend on it."""
    bandwidth: float
    """Bytes per second."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The measured costs of one model on one device."""

    model: str
    """The graph's name."""
    model_hash: str
    conditions: Conditions
    ops: dict[str, Sample]
    """Op name -> seconds for one request, in one profiled run of the whole model."""
    whole: Sample
    """Seconds of the whole, uncut model for one request."""
    stage_overhead: float
    """Seconds each stage costs beyond the sum of its ops (entering and leaving the engine)."""
    contention: float
    """Time with the machine's other cores equally busy, divided by time alone."""
    stages: tuple[StageSample, ...] = ()
    borders: tuple[BorderSample, ...] = ()
    send: FrameCost = FrameCost()
    """CPU of a worker that sends a frame; nothing where it was not measured."""
    receive: FrameCost = FrameCost()
    entrance: FrameCost | None = None
    """CPU of a gateway for a frame to or from the first stage, packing and unpacking included; None where it was not
    measured."""
    local: LocalHop | None = None
    """Between two workers of this machine; None where it was not measured."""
    base_memory: int = 0
    """Bytes of resident memory of a worker before it loads a stage."""
