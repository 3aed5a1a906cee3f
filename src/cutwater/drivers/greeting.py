"""Greetings: how little is taken from a stranger, for how long, and who lets it in."""

import hmac
from collections.abc import Callable

from cutwater.errors import Refused
from cutwater.units import Seconds
from cutwater.wire.message import PROTOCOL, Hello

GREETING_LIMIT = 4096
"""Bytes a stranger may send in one frame."""
GREETING_TIMEOUT: Seconds = 3.0

Doorman = Callable[[Hello], Hello]
"""Given a stranger's greeting: what to answer, if it may come in. Raises CutwaterError, which the stranger is told."""


def answer(stranger: Hello, own: Hello, doorman: Doorman | None) -> Hello:
    """What to greet ``stranger`` with; without a ``doorman`` those come in who belong to the deployment of ``own``.

    Raises:
        Refused: it speaks another protocol, or belongs to another deployment.
        CutwaterError: why else the doorman turns it away.
    """
    if stranger.protocol != PROTOCOL:
        raise Refused(f"{stranger.name} speaks protocol {stranger.protocol}, this end {PROTOCOL}")
    if doorman is not None:
        return doorman(stranger)
    if not hmac.compare_digest(stranger.deployment.encode(), own.deployment.encode()):
        raise Refused("the other end belongs to another deployment")
    return own
