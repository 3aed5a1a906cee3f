"""What this machine is, in the words of a Profile's conditions."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version

from cutwater import __version__
from cutwater.lab.timing import MeasureOptions, usable_cores
from cutwater.profile.profile import Conditions
from cutwater.services.hardware import processor


def measure_machine(options: MeasureOptions = MeasureOptions()) -> Conditions:  # noqa: B008
    """The conditions of a measurement made now, with these options."""
    cores = len(usable_cores())
    packages = {name: version(name) for name in ("numpy", "onnx", "onnxruntime")}
    return Conditions(
        device=f"{processor()}, {cores} cores",
        cores=cores,
        threads=options.threads,
        batch=options.batch,
        busy_cores=max(0, cores - options.threads) // options.threads * options.threads,
        versions={"python": platform.python_version(), "cutwater": __version__, **packages},
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
