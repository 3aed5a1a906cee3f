"""Options that several commands share, each said once."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from cutwater.errors import BadQuantity, BadSetting, BadShape, InputError
from cutwater.units import Seconds, parse_seconds

if TYPE_CHECKING:  # most commands need no pictures and no codecs, and should not wait for what those import
    from cutwater.vision.prepare import Preparation

T = TypeVar("T", bound=msgspec.Struct)

Model = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)]
Sizes = Annotated[
    list[str],
    typer.Option("--size", help="Concrete size of a dynamic dimension: NAME=640, or INPUT:AXIS=640.", metavar="DIM=N"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
InputSpecs = Annotated[
    list[str],
    typer.Option(
        "--input", "-i", help='A picture, folder, video, .npy or .npz; or "synthetic:N". May be given several times.'
    ),
]
Cuts = Annotated[
    list[str], typer.Option("--cut", help='A cut: "after LAYER", an index from `model show`, or "40%" of the FLOPs.')
]
Codecs = Annotated[
    list[str], typer.Option("--codec", help='A codec to consider, such as float16 or int8+zstd; or "all".')
]
ObjectiveText = Annotated[
    str,
    typer.Option(
        "--objective",
        help='What to plan for: latency, throughput, "throughput@latency<=50ms", "latency@rate=20".',
    ),
]
PixelMean = Annotated[str, typer.Option(help="Subtracted from pixels 0..255: one number or R,G,B.")]
PixelStd = Annotated[str, typer.Option(help="Pixels are divided by this afterwards: one number or R,G,B.")]
Batch = Annotated[int, typer.Option(min=1, help="Most requests a stage computes together.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads inside one op, per stage.")]


def parse_sizes(texts: list[str]) -> Mapping[str, int]:
    """``["height=640"]`` -> ``{"height": 640}``. Raises BadShape."""
    sizes: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not (equals and name and value.isdecimal() and int(value) > 0):
            raise BadShape(f"--size {text}: write it as NAME=N with a whole number above 0, such as --size height=640")
        sizes[name] = int(value)
    return sizes


def parse_codecs(names: list[str]) -> list[str]:
    """The codecs named, each known; "all" stands for every one. Raises InputError."""
    from cutwater.wire.codecs.registry import CODEC_NAMES

    known = ("all", *CODEC_NAMES)
    for name in names:
        if name not in known:
            raise InputError(f"there is no codec {name!r}; there are {', '.join(known)}")
    return list(CODEC_NAMES) if "all" in names else list(dict.fromkeys(names))


def parse_preparation(mean: str, std: str, fit: str) -> "Preparation":
    """How pictures become inputs. Raises BadQuantity, InputError."""
    from cutwater.vision.prepare import Preparation
    from cutwater.vision.resize import FITS

    if fit not in FITS:
        raise InputError(f"--fit {fit}: there is no such way; there are {', '.join(FITS)}")
    return Preparation(comma_numbers(mean), comma_numbers(std), fit)


def parse_timeout(text: str) -> Seconds:
    """``"500 ms"`` -> 0.5. Raises BadQuantity, also where no time would be left at all."""
    seconds = parse_seconds(text)
    if seconds <= 0:
        raise BadQuantity(f"--timeout {text}: no request can be answered in no time; give more, such as '500 ms'")
    return seconds


def comma_numbers(text: str) -> tuple[float, float, float]:
    """``"127"`` -> (127, 127, 127), ``"1,2,3"`` -> (1, 2, 3). Raises BadQuantity."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise BadQuantity(f"{text!r} is neither one number nor three; write it like '127' or '123.7,116.3,103.5'")
    return numbers[0], numbers[1], numbers[2]


def refuse_given(context: typer.Context, names: Set[str], why: str) -> None:
    """Raise BadSetting where one of these was given."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise BadSetting(f"{parameter.opts[0]} {why}")


def said(kind: type[T], flags: Mapping[str, Any]) -> T:
    """A struct with a field for each flag that it needs, from the variables of a command's function."""
    return kind(**{name: flags[name] for name in kind.__struct_fields__})
