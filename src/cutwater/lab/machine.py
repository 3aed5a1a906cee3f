"""What this machine is, in the words of a Profile's conditions."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cutwater import __version__
from cutwater.lab.timing import MeasureOptions, usable_cores
from cutwater.profile.profile import Conditions

_CPUINFO = Path("/proc/cpuinfo")


def measure_machine(options: MeasureOptions = MeasureOptions()) -> Conditions:  # noqa: B008
    """The conditions of a measurement made now, with these options."""
    cores = len(usable_cores())
    packages = {name: version(name) for name in ("numpy", "onnx", "onnxruntime")}
    return Conditions(
        device=f"{_processor()}, {cores} cores",
        cores=cores,
        threads=options.threads,
        batch=options.batch,
        busy_cores=max(0, cores - options.threads) // options.threads * options.threads,
        versions={"python": platform.python_version(), "cutwater": __version__, **packages},
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _processor() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
