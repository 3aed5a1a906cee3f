"""How a client and a gateway understand each other: the model in the greeting, the gateway's mark in the trail."""

import re

from cutwater.errors import Refused
from cutwater.units import RequestId, Seconds, StageId, format_request
from cutwater.wire.message import Mark

WHOLE = StageId("whole")
"""The stage of a gateway's own copy of a model: its mark in a trail says that the answer is degraded."""
_GATEWAY = "gateway:"
_GREETING = re.compile(r"^model:([A-Za-z0-9_-]+)(?::(.+))?$")


def greeting(model: str, token: str = "") -> str:
    """What a client of ``model`` gives as its `Hello.deployment`."""
    return f"model:{model}:{token}" if token else f"model:{model}"


def parse_greeting(deployment: str) -> tuple[str, str]:
    """The model and the token of a client's greeting. Raises Refused where it names none."""
    match = _GREETING.match(deployment)
    if match is None:
        raise Refused("this is a gateway: greet it with the name of a model, as in model:NAME")
    return match[1], match[2] or ""


def gateway_mark(request: RequestId, asked: Seconds, answered: Seconds, came: int, went: int) -> Mark:
    """What the gateway adds to the end of a trail: what it calls the request, from asking to answering, and bytes."""
    return Mark(StageId(_GATEWAY + format_request(request)), asked, asked, answered, answered, 1, came, went, 0.0, 0.0)


def without_gateway(trail: tuple[Mark, ...]) -> tuple[str, tuple[Mark, ...]]:
    """What the gateway calls the request ("" if it did not say), and the marks of the stages."""
    if trail and trail[-1].stage.startswith(_GATEWAY):
        return trail[-1].stage.removeprefix(_GATEWAY), trail[:-1]
    return "", trail
