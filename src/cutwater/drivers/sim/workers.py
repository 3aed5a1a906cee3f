"""SimWorker: the hands of one stage's machine in virtual time; computing takes what a profile says."""

from collections.abc import Callable
from math import exp
from random import Random
from typing import Any

import msgspec

from cutwater.drivers.sim.links import End, Links
from cutwater.drivers.sim.process import Process
from cutwater.drivers.sim.stepper import Hands, Stepper
from cutwater.engine.stage.stage import StageWorker
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import (
    Compute,
    Computed,
    Dial,
    DialFailed,
    Die,
    Drain,
    Forget,
    GiveBack,
    Lost,
    Opened,
    Paused,
    Relay,
    Result,
    Resumed,
    Send,
    Stop,
    Want,
)
from cutwater.profile.profile import FrameCost, Rest
from cutwater.units import Seconds
from cutwater.wire.message import Address, Answer, Infer, TensorSpec

NORMAL_QUARTILES = 1.349
"""Distance between the quartiles of a normal distribution, in standard deviations."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker does with one request; seconds with nothing else on the host."""

    seconds: Seconds
    fixed: Seconds = 0.0
    """The part of the seconds that a batch pays once."""
    spread: Seconds = 0.0
    """Distance between the quartiles of the seconds."""
    rest: Rest = Rest()
    """What a pause before it adds."""
    held: Seconds = 0.0
    """How much later a result leaves whose process computes on."""
    decode: Seconds = 0.0
    encode: Seconds = 0.0
    outputs: tuple[TensorSpec, ...] = ()
    """As they are packed for the next hop."""
    sending: FrameCost = FrameCost()
    receiving: FrameCost = FrameCost()


class SimWorker:
    """A stage's worker; an `Owner` of links."""

    def __init__(
        self,
        process: Process,
        machine: StageWorker,
        work: Work,
        links: Links,
        token: str,
        *,
        trace: Trace | None = None,
    ) -> None:
        self.process = process
        self.machine = machine
        self.work = work
        self.sending, self.receiving = work.sending, work.receiving
        self.served = 0
        self.busy: Seconds = 0.0
        """Seconds spent computing, by the clock."""
        self.on_stop: Callable[[], None] = lambda: None
        """Told when it ends by itself."""
        self.on_word: Callable[[Want | GiveBack], None] = _nothing
        """Told what it says of its turn; nobody is, where it is alone."""
        self._clock = process.clock
        self._loop, self._computing = process.loop, process.computing
        self._finishing = self._finished
        self._links = links
        self._rng: Random = links.rng
        self._token = token
        self._ends: dict[int, End] = {}
        self._nbytes = sum(spec.nbytes for spec in work.outputs)
        self._sigma = work.spread / work.seconds / NORMAL_QUARTILES if work.seconds else 0.0
        self._each = work.seconds + work.decode + work.encode
        self._most = work.rest.most
        self._leaves: Seconds = 0.0
        """When the last message has left, or will, where results are held."""
        hands: Hands = {
            Compute: self._compute,
            Send: self._send,
            Relay: self._relay,
            Forget: _nothing,
            Want: self._say,
            GiveBack: self._say,
            Dial: self._dial,
            Die: self._die,
            Stop: self._die,
        }
        self.stepper = Stepper(machine, hands, process, process.name, trace)
        self._tell = self.stepper.tell

    def listen(self, address: Address) -> None:
        """Take links at ``address``."""
        self._links.listen(address, self, self._token, lambda: self.machine.options.credits)

    def drain(self) -> None:
        """Finish what is here, accept nothing new, then end."""
        self.process.loop.add(0.0, self.stepper.tell, Drain())

    # Owner

    def opened(self, end: End) -> None:
        """See `Owner.opened`."""
        self._ends[end.id] = end
        self.stepper.tell(Opened(end.id, end.credits, end.address))

    def lost(self, end: End, reason: str) -> None:
        """See `Owner.lost`."""
        del self._ends[end.id]
        self.stepper.tell(Lost(end.id, reason))

    def paused(self, end: End, on: bool) -> None:
        """See `Owner.paused`."""
        self.stepper.tell(Paused(end.id) if on else Resumed(end.id))

    # Hands

    def _compute(self, command: Compute) -> None:
        seconds = self._each
        if self._sigma:
            seconds += self.work.seconds * (exp(self._rng.gauss(0.0, self._sigma)) - 1.0)
        if self._most and not self._computing.busy:
            seconds += self._most * (1.0 - exp((self.process.freed - self._clock.now) / self.work.rest.time))
        together = len(command.keys) - 1
        seconds += (seconds - self.work.fixed) * together
        self._computing.add(seconds, self._finishing, (command, self._clock.now))

    def _finished(self, what: tuple[Compute, Seconds]) -> None:
        command, given = what
        now, work, keys = self._clock.now, self.work, command.keys
        process = self.process
        started = (given if given > process.freed else process.freed) + work.decode
        process.freed = now
        self.busy += now - started
        self.served += len(keys)
        if len(keys) == 1:
            results: tuple[Result, ...] = (Result(keys[0], work.outputs, work.decode, work.encode),)
        else:
            results = tuple([Result(key, work.outputs, work.decode, work.encode) for key in keys])
        computed = Computed(command.batch, started, now - work.encode, results, self._cpu(len(keys)))
        self._loop.add(0.0, self._tell, computed)

    def _cpu(self, requests: int) -> Seconds:
        return self.work.seconds + (self.work.seconds - self.work.fixed) * (requests - 1)

    def _send(self, command: Send) -> None:
        end = self._ends.get(command.link)
        if end is not None:
            message = command.message
            kind = type(message)
            nbytes = self._nbytes if kind is Infer or kind is Answer else 0
            if self.work.held:
                # Whether another computes now is known when all that happens at this instant has happened.
                self._clock.after(0.0, self._hold, (command.link, message, nbytes))
            else:
                end.send(message, nbytes)

    def _hold(self, what: tuple[int, Any, int]) -> None:
        held = self.work.held if what[2] and self._computing.busy else 0.0
        self._leaves = max(self._leaves, self._clock.now + held)
        self._clock.at(self._leaves, self._let_go, what)

    def _let_go(self, what: tuple[int, Any, int]) -> None:
        self._loop.add(0.0, self._leave, what)

    def _leave(self, what: tuple[int, Any, int]) -> None:
        link, message, nbytes = what
        end = self._ends.get(link)
        if end is not None and self.process.alive:
            end.send(message, nbytes)

    def _relay(self, command: Relay) -> None:
        end = self._ends.get(command.link)
        if end is not None:
            end.send(command.message, self.stepper.event.nbytes)

    def _say(self, command: Want | GiveBack) -> None:
        self.on_word(command)

    def _dial(self, command: Dial) -> None:
        address = command.address
        self._links.dial(self, address, self._token, lambda why: self.stepper.tell(DialFailed(address, why)))

    def _die(self, command: Die | Stop) -> None:
        # What was said goes first.
        self._clock.at(max(self._leaves, self._clock.now), self._end_last)

    def _end_last(self, _: None) -> None:
        self.process.loop.add(0.0, self._end, None)

    def _end(self, _: None) -> None:
        if self.process.alive:
            self.process.die()
            self.on_stop()


def _nothing(command: Any) -> None:
    """There are no tensors to let go of, and perhaps nobody to hear."""
