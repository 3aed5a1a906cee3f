"""Porch: requests that have begun to arrive and are not in the line yet: bodies are read, pictures decoded.

All of that is work too, and in vain for a request that is refused afterwards. So whoever does it asks first, and is
answered with a view to how many others are on their way in.
"""

from collections.abc import Callable
from math import inf
from typing import Protocol, Self

from cutwater.api.backend import Ask
from cutwater.drivers.live import clock
from cutwater.errors import CutwaterError, DeadlineExceeded, Refused
from cutwater.units import Seconds

FEW = 8
"""So many requests of a model are read without asking: what they say shows what clients want now."""
SPELL: Seconds = 10.0
"""What a client wanted longest and most urgently is known for one to two of these."""
MOST = 4096
"""Clients about whom that is known; of more, for a shorter time."""

ASKERS = 16
"""Of so many `Porch.closed` knows what all of them want; with more it refuses nobody."""
PROBE = 16
"""One in so many is read though it seems to be in vain: else nobody would hear that clients want something else."""

_Terms = tuple[Seconds, int]
_Asker = tuple[str, str]
"""Model, client."""


class Line(Protocol):
    """What is asked on the way in; a `Backend` is one."""

    def refusal(self, ask: Ask, ahead: int) -> CutwaterError | None:
        """See `Backend.refusal`."""
        ...

    def refused(self, ask: Ask, error: CutwaterError) -> None:
        """See `Backend.refused`."""
        ...


class Porch:
    """One for all doors of a gateway."""

    def __init__(self, line: Line, now: Callable[[], Seconds] = clock) -> None:
        """Nobody is on it yet. ``line``: where it leads to."""
        self.now = now
        self.line = line
        self._counts: dict[str, int] = {}
        self._spell = now()
        self._lately: dict[str, dict[_Asker, _Terms]] = {}
        """By door, and ``_before`` the same of the spell before."""
        self._before: dict[str, dict[_Asker, _Terms]] = {}
        self._turned_away = 0

    def coming(self, model: str, client: str, door: str, since: Seconds | None = None) -> "Coming":
        """A request that began to arrive at ``since``, on the gateway's clock; None: now."""
        return Coming(self, Ask(model, {}, client=client, door=door, since=self.now() if since is None else since))

    def count(self, model: str) -> int:
        """Of its requests that are on their way in."""
        return self._counts.get(model, 0)

    def add(self, model: str, change: int) -> None:
        """One more (1), or one less (-1)."""
        count = self._counts.get(model, 0) + change
        if count:
            self._counts[model] = count
        else:
            del self._counts[model]

    def learn(self, ask: Ask, timeout: Seconds, priority: int) -> None:
        """What a request wants."""
        lately = self._lately.setdefault(ask.door, {})
        if ask.since - self._spell > SPELL or len(lately) >= MOST:
            lately = {}
            self._before, self._lately, self._spell = self._lately, {ask.door: lately}, ask.since
        key = ask.model, ask.client
        longest, highest = lately.get(key, (timeout, priority))
        lately[key] = max(longest, timeout), max(highest, priority)

    def closed(self, door: str) -> CutwaterError | None:
        """Why nobody need be read who comes now by a door that does not show whose request it is, nor for which model.

        Whoever has asked there lately, and whatever of what it has wanted, would be refused; None: somebody would not.
        """
        lately, before = self._lately.get(door, {}), self._before.get(door, {})
        found: list[tuple[Ask, CutwaterError]] = []
        if len(lately) > ASKERS or len(before) > ASKERS:
            return None
        for model, client in {**before, **lately}:
            timeout, priority = self._habit(door, (model, client)) or (inf, 0)
            ask = Ask(model, {}, timeout, priority, client, door=door, since=self.now())
            if (error := self.line.refusal(ask, self.count(model))) is None:
                return None
            found.append((ask, error))
        if not found:
            return None
        self._turned_away += 1
        if self._turned_away % PROBE == 0:
            return None
        # Whose it is nobody knows, so they take turns: each model is seen to be wanted, and each client to be refused.
        ask, error = found[(self._turned_away - self._turned_away // PROBE) % len(found)]
        self.line.refused(ask, error)
        return error

    def habit(self, ask: Ask) -> _Terms | None:
        """The longest time, and the highest priority, that this client's requests have wanted lately."""
        return self._habit(ask.door, (ask.model, ask.client))

    def _habit(self, door: str, key: _Asker) -> _Terms | None:
        lately, before = self._lately.get(door, {}).get(key), self._before.get(door, {}).get(key)
        if lately is None or before is None:
            return lately or before
        return max(lately[0], before[0]), max(lately[1], before[1])


class Coming:
    """One request on its way in: a context. Between `__enter__` and `here` it counts as such."""

    __slots__ = ("_ask", "_counted", "_porch", "until")

    def __init__(self, porch: Porch, ask: Ask) -> None:
        self._porch = porch
        self._ask = ask
        self._counted = False
        self.until: Seconds = inf
        """Its deadline, on the gateway's clock; infinite as long as it has not said."""

    @property
    def since(self) -> Seconds:
        """When it began to arrive, on the gateway's clock: its time counts from then."""
        return self._ask.since

    def __enter__(self) -> Self:
        self._porch.add(self._ask.model, 1)
        self._counted = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._counted:
            self.here()
            if isinstance(error, Refused | DeadlineExceeded):
                self._porch.line.refused(self._ask, error)

    def here(self) -> None:
        """It goes to the line now, which counts it from then on."""
        if self._counted:
            self._counted = False
            self._porch.add(self._ask.model, -1)

    def look(self) -> None:
        """Before its body is read, which says what it wants. Raises Refused if that is very likely to be in vain.

        It is taken to want what its client's most patient and most urgent request has wanted lately. Of those whose
        clients nobody knows, and while few are being read, all are read.
        """
        ask = self._ask
        if self._porch.count(ask.model) <= FEW or (habit := self._porch.habit(ask)) is None:
            return
        timeout, priority = habit
        self._check(ask._replace(timeout=timeout, priority=priority))

    def wants(self, timeout: Seconds, priority: int) -> None:
        """So much time, and this priority, as it says itself."""
        ask = self._ask = self._ask._replace(timeout=timeout, priority=priority)
        self.until = ask.since + timeout
        self._porch.learn(ask, timeout, priority)

    def check(self) -> None:
        """When it has said what it wants, before much is done for it. Raises Refused, DeadlineExceeded."""
        self._check(self._ask)

    def _check(self, ask: Ask) -> None:
        error = self._porch.line.refusal(ask, self._porch.count(ask.model) - 1)
        if error is not None:
            raise error
