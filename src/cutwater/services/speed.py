"""How fast this machine is, for all on it who compare speeds with others."""

from importlib.metadata import version
from pathlib import Path

from cutwater import __version__
from cutwater.frameworks.speed import speed_index
from cutwater.services.hardware import processor


def machine_speed(cache: Path) -> float:
    """The speed index of one core of this machine, measured once and kept in ``cache``.

    The nodes of a machine and whoever measures a model on it mean the same number: two measurements differ by what else
    the machine does meanwhile, and every prediction would be off by as much.
    """
    return speed_index(conditions(), cache)


def conditions() -> str:
    """What measurements of this machine hold for: where it reads otherwise, they have to be made again."""
    return f"{processor()}, onnxruntime {version('onnxruntime')}, cutwater {__version__}"
