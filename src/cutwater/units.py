"""Quantities as people write them ("20 Mbit/s", "1 GiB", "2 ms") and back.

Inside the code a quantity is a bare number in base units (seconds, bytes, bytes per second, FLOPs, FLOP/s);
text with a unit exists only in files, flags and tables.
"""

import re
from math import isfinite
from typing import NewType

from cutwater.errors import BadQuantity, InputError

Seconds = float
NodeId = NewType("NodeId", str)
StageId = NewType("StageId", str)
RequestId = NewType("RequestId", int)
WorkerId = NewType("WorkerId", str)
GatewayId = NewType("GatewayId", str)

_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_REQUEST = re.compile(r"^([0-9a-f]{1,8})-([0-9]{1,10})$")
_NUMBER = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*([a-zµ/]*)\s*$", re.IGNORECASE)


def check_name(what: str, name: str) -> None:
    """Refuse what may not name anything: a name becomes part of paths, subjects, keys and certificates.

    Args:
        what: What shall be called so: "node", "model".
        name: Up to 63 letters, digits, - and _, the first one no sign; so no dot, no slash, no space.

    Raises:
        InputError: It is something else.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} cannot be the name of a {what}: "
            "use up to 63 letters, digits, - and _, the first one no sign"
        )


def _split(text: str, what: str, example: str) -> tuple[float, str]:
    match = _NUMBER.match(text)
    if match is None:
        raise BadQuantity(f"{text!r} is not a {what}; write it like {example!r}")
    return float(match[1]), match[2].lower()


def parse_bytes(value: str | int | float) -> int:
    """Bytes from ``"512 MiB"``, ``"1.5 GB"`` or a bare count. Raises BadQuantity."""
    number, unit = _split(value, "size", "512 MiB") if isinstance(value, str) else (value, "")
    if (unit or "b") not in _BYTES:
        raise BadQuantity(f"{value!r} has an unknown unit {unit!r}; sizes end in one of {', '.join(_BYTES)}")
    count = number * _BYTES[unit or "b"]
    if not isfinite(count):
        raise BadQuantity(f"{value!r} is not a finite size")
    return round(count) if isinstance(value, str) else int(count)


def parse_bandwidth(value: str | int | float) -> float:
    """Bytes per second from ``"20 Mbit/s"``, ``"1 GB/s"`` or a bare number of bytes per second. Raises BadQuantity."""
    if not isinstance(value, str):
        return float(value)
    number, unit = _split(value, "bandwidth", "20 Mbit/s")
    unit = unit.removesuffix("/s")
    if unit in _BITS:
        return number * _BITS[unit] / 8
    if (unit or "b") in _BYTES:
        return number * _BYTES[unit or "b"]
    raise BadQuantity(f"{value!r} has an unknown unit {unit!r}; write it like '20 Mbit/s' or '1 GB/s'")


def parse_seconds(value: str | int | float) -> Seconds:
    """Seconds from ``"2 ms"``, ``"150 us"``, ``"10 min"`` or a bare number of seconds. Raises BadQuantity."""
    if not isinstance(value, str):
        return float(value)
    number, unit = _split(value, "duration", "2 ms")
    if (unit or "s") not in _SECONDS:
        raise BadQuantity(f"{value!r} has an unknown unit {unit!r}; durations end in one of {', '.join(_SECONDS)}")
    return number * _SECONDS[unit or "s"]


def parse_rate(value: str | int | float) -> float:
    """Per second, from ``"20/s"``, ``"1200/min"``, ``"5/h"`` or a bare number per second. Raises BadQuantity."""
    if not isinstance(value, str):
        return float(value)
    number, unit = _split(value, "rate", "20/s")
    unit = unit.removeprefix("/") or "s"
    if unit not in _SECONDS:
        raise BadQuantity(f"{value!r} has an unknown unit {unit!r}; write it like '20/s', '1200/min' or '5/h'")
    return number / _SECONDS[unit]


def format_bytes(count: float) -> str:
    """``1536`` -> ``"1.5 KiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.4g} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def format_rate(per_second: float) -> str:
    """``20.0`` -> ``"20/s"``, ``0.05`` -> ``"3/min"``."""
    for scale, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        if abs(per_second * scale) >= 1 or unit == "h":
            return f"{per_second * scale:.4g}/{unit}"
    raise AssertionError("unreachable")


def format_seconds(seconds: Seconds) -> str:
    """``0.0123`` -> ``"12.3 ms"``; NaN, which nobody measured, -> ``"-"``."""
    if seconds != seconds:
        return "-"
    if seconds == 0:
        return "0 s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(seconds) >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def format_flops(flops: float) -> str:
    """``2.1e9`` -> ``"2.1 GFLOP"``."""
    for scale, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP")):
        if abs(flops) >= scale:
            return f"{flops / scale:.3g} {unit}"
    return f"{flops:.0f} FLOP"


def format_bandwidth(bytes_per_second: float) -> str:
    """``2.5e6`` -> ``"20 Mbit/s"``."""
    bits = bytes_per_second * 8
    for scale, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= scale:
            return f"{bits / scale:.4g} {unit}"
    return f"{bits:.4g} bit/s"


def format_request(request: RequestId) -> str:
    """``0x5c1f03aa0000002a`` -> ``"5c1f03aa-42"``: which start of a gateway, and which of its requests."""
    return f"{request >> 32:08x}-{request & 0xFFFFFFFF}"


def parse_request(text: str) -> RequestId:
    """The inverse of `format_request`; a bare number is one of a gateway that has its workers for itself.

    Raises BadQuantity.
    """
    text = text.strip().lower()
    match = _REQUEST.match(text if "-" in text else f"0-{text}")
    if match is None or int(match[2]) >> 32:
        raise BadQuantity(f"{text!r} is not a request; write it as it was printed, such as '5c1f03aa-42'")
    return RequestId((int(match[1], 16) << 32) + int(match[2]))
