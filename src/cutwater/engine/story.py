"""Story: what happened to one request, in plain sentences, from the traces of every process it came through."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from cutwater.engine.trace import Step
from cutwater.engine.vocabulary import (
    Asked,
    Complete,
    Compute,
    Computed,
    Fail,
    Launch,
    LinkId,
    Lost,
    Received,
    Relay,
    Send,
    Withdrawn,
)
from cutwater.units import RequestId, Seconds, format_bytes, format_seconds
from cutwater.wire.message import Answer, Cancel, Failure, Infer


class Sentence(msgspec.Struct, frozen=True):
    """One thing that happened."""

    now: Seconds
    who: str
    text: str


def tell(steps: Iterable[Step], request: RequestId) -> list[Sentence]:
    """What happened to ``request``, in order of time. ``steps`` of several processes in any order of processes."""
    teller = _Teller(request)
    for step in sorted(steps, key=lambda step: step.now):
        teller.hear(step)
    return teller.sentences


class _Teller:
    def __init__(self, request: RequestId) -> None:
        self.request = request
        self.sentences: list[Sentence] = []
        self._asked: Seconds | None = None
        self._links: dict[str, set[LinkId]] = {}
        """Who -> the links of theirs the request is under way on."""
        self._attempts: dict[str, int] = {}
        """Gateway -> the newest attempt; 0 once it is answered."""
        self._step: Step

    def hear(self, step: Step) -> None:
        """Tell what of a step is about the request."""
        self._step = step
        handler = _EVENTS.get(type(step.event))
        if handler is not None:
            handler(self, step.event)
        for command in step.commands:
            told = _COMMANDS.get(type(command))
            if told is not None:
                told(self, command)

    def _say(self, text: str) -> None:
        self.sentences.append(Sentence(self._step.now, self._step.who, text))

    # Events

    def _heard_asked(self, event: Asked) -> None:
        if event.request == self.request:
            self._asked = self._step.now
            self._say(f"asked, with {format_seconds(event.timeout)} for the answer")

    def _heard_withdrawn(self, event: Withdrawn) -> None:
        if event.request == self.request:
            self._say("the client waits no longer")

    def _heard_lost(self, event: Lost) -> None:
        if event.link in self._links.get(self._step.who, ()):
            self._links[self._step.who].discard(event.link)
            self._say(f"the link it was on is lost: {event.reason}")

    def _heard_received(self, event: Received) -> None:
        message = event.message
        if getattr(message, "request", None) != self.request:
            return
        if isinstance(message, Infer):
            self._say(f"has it: attempt {message.attempt}, {format_bytes(event.nbytes)}")
        elif isinstance(message, Answer | Failure):
            what = "the answer" if isinstance(message, Answer) else f"{message.kind} ({message.message})"
            newest = self._attempts.get(self._step.who)
            if newest is not None and newest != message.attempt:
                self._say(f"{what} to attempt {message.attempt} comes late and is dropped")
            else:
                suspect = getattr(message, "suspect", "")
                self._say(f"{what} comes back" + (f"; {suspect} is suspect" if suspect else ""))
        elif isinstance(message, Cancel):
            self._say(f"is told that nobody waits for attempt {message.attempt} any more")

    def _heard_computed(self, event: Computed) -> None:
        for result in event.results:
            if result.key.request == self.request:
                took = format_seconds(event.finished - event.started)
                company = f", {len(event.results)} together" if len(event.results) > 1 else ""
                failed = f", and failed: {result.fault.message}" if result.fault is not None else ""
                self._say(f"computed it in {took}{company}{failed}")

    # Commands

    def _asks_launch(self, command: Launch) -> None:
        if command.key.request == self.request:
            who, route = self._step.who, command.route
            self._attempts[who] = command.key.attempt
            self._links.setdefault(who, set()).add(command.link)
            kind = " by the gateway's own copy of the model" if route.degraded else ", a spare way" * route.spare
            way = " -> ".join(hop.address for hop in route.hops)
            again = "" if command.key.attempt == 1 else "tried again: "
            self._say(f"{again}attempt {command.key.attempt} goes by {way} (epoch {route.epoch}){kind}")

    def _asks_compute(self, command: Compute) -> None:
        if any(key.request == self.request for key in command.keys):
            company = f" with {len(command.keys) - 1} others" if len(command.keys) > 1 else ""
            self._say(f"gives it to be computed{company}")

    def _asks_send(self, command: Send) -> None:
        message = command.message
        if getattr(message, "request", None) != self.request:
            return
        if isinstance(message, Infer):
            self._links.setdefault(self._step.who, set()).add(command.link)
            self._say("sends it on to the next stage")
        elif isinstance(message, Answer):
            self._say("sends the answer back")
        elif isinstance(message, Failure):
            self._say(f"answers with {message.kind}: {message.message}")
        elif isinstance(message, Cancel):
            self._say(f"tells the stages to drop attempt {message.attempt}")

    def _asks_relay(self, command: Relay) -> None:
        if command.message.request == self.request:
            self._say("passes it on towards the gateway")

    def _asks_complete(self, command: Complete) -> None:
        if command.request == self.request:
            self._end(f"answered{' by the gateway itself' if command.degraded else ''}")

    def _asks_fail(self, command: Fail) -> None:
        if command.request == self.request:
            self._end(f"ended as {command.fault.kind}: {command.fault.message}")

    def _end(self, text: str) -> None:
        self._attempts[self._step.who] = 0
        after = (
            f", {format_seconds(self._step.now - self._asked)} after it was asked" if self._asked is not None else ""
        )
        self._say(text + after)


_EVENTS: Mapping[type, Callable[[_Teller, Any], None]] = {
    Asked: _Teller._heard_asked,
    Withdrawn: _Teller._heard_withdrawn,
    Lost: _Teller._heard_lost,
    Received: _Teller._heard_received,
    Computed: _Teller._heard_computed,
}
_COMMANDS: Mapping[type, Callable[[_Teller, Any], None]] = {
    Launch: _Teller._asks_launch,
    Compute: _Teller._asks_compute,
    Send: _Teller._asks_send,
    Relay: _Teller._asks_relay,
    Complete: _Teller._asks_complete,
    Fail: _Teller._asks_fail,
}
