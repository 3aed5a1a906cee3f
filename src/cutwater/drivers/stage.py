"""LiveStage: the hands of one stage's machine: links in and on, the compute thread between, the tensors meanwhile."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cutwater.drivers.compute import ComputeThread, Done, Job
from cutwater.drivers.connect import Listener, listen
from cutwater.drivers.links import Link
from cutwater.drivers.live import Hands, Live
from cutwater.drivers.owner import LinkOwner
from cutwater.drivers.refusals import Refusals
from cutwater.drivers.shared import MEMORY
from cutwater.drivers.tls import TlsFiles
from cutwater.engine.fault import Fault
from cutwater.engine.stage.figures import StageSnapshot
from cutwater.engine.stage.stage import StageWorker
from cutwater.engine.trace import Trace
from cutwater.engine.vocabulary import (
    Compute,
    Computed,
    Dial,
    Die,
    Drain,
    Forget,
    GiveBack,
    Go,
    Key,
    Recall,
    Received,
    Relay,
    Send,
    Stop,
    Wait,
    Want,
)
from cutwater.errors import FrameError
from cutwater.wire.codecs.base import Buffer
from cutwater.wire.message import Address, Answer, Cancel, Credit, Failure, Hello, Infer, Message

WORDS = 1000
"""Of a failure that says more than a frame can hold, the first so many characters are sent."""


class Held:
    """What is kept of one request: first its packed inputs, then its packed outputs."""

    __slots__ = ("infer", "inputs", "outputs")

    def __init__(self, infer: Infer, inputs: list[memoryview]) -> None:
        self.infer = infer
        self.inputs = inputs
        self.outputs: list[Buffer] = []


class LiveStage(LinkOwner):
    """Serves one stage."""

    def __init__(
        self,
        machine: StageWorker,
        hello: Hello,
        compute: Callable[[Done], ComputeThread],
        *,
        tls: TlsFiles | None = None,
        trace: Trace | None = None,
        memory: int = MEMORY,
        say: Callable[[Want | GiveBack], None] = lambda word: None,
    ) -> None:
        """``compute`` starts the thread, given what is to be told when a batch is done; ``memory`` as for `dial`;
        ``say`` tells whoever gives turns, where the machine asks for them."""
        super().__init__(hello, tls, memory)
        self._machine = machine
        self._stage = machine.stage
        self._held: dict[Key, Held] = {}
        self._passing: Sequence[memoryview] = ()
        """Buffers of the frame that has just come."""
        self._listeners: list[Listener] = []
        self.drained = asyncio.Event()
        """Set once there is nothing more to do."""
        self.hung: str | None = None
        """Why it has nothing more to do, if that is because a batch hangs."""
        self.broken: Exception | None = None
        """What broke its machine, if that is why it has nothing more to do."""
        self.refusals = Refusals()
        """Whom its listeners turn away."""
        hands: Hands = {
            Compute: self._compute,
            Send: self._send,
            Relay: self._relay,
            Forget: self._forget,
            Dial: self._dial,
            Die: self._die,
            Stop: self._stop,
            Want: say,
            GiveBack: say,
        }
        self._live = Live(machine, hands, self._stage, trace, on_broken=self._broke)
        self._thread = compute(self._computed)

    async def listen(self, address: Address) -> Address:
        """Take links at ``address`` too; returns it with the port the system chose. Raises InputError."""
        listener = await listen(address, self._hello, self, self._tls, self._memory, refusals=self.refusals)
        self._listeners.append(listener)
        return listener.address

    def drain(self) -> None:
        """Finish what is here, accept nothing new; then ``drained`` is set."""
        self._live.tell(Drain())

    def told(self, word: Go | Recall | Wait) -> None:
        """Whoever gives turns has said this."""
        with self.cork:
            self._live.tell(word)

    def snapshot(self) -> StageSnapshot:
        """The machine's figures."""
        return self._machine.snapshot()

    def close(self) -> None:
        """End at once."""
        super().close()
        self._thread.close()
        for listener in self._listeners:
            listener.close()

    def received(self, link: Link, message: Message, buffers: list[memoryview]) -> None:
        """See `Owner.received`. Raises FrameError for what does not belong on this end of a link."""
        # For every frame: hence tuples, as a union would be built at each call.
        if isinstance(message, (Infer, Cancel)):
            if link.address is not None:
                raise FrameError(f"a {type(message).__name__} came against the direction of the link")
            if type(message) is Infer:
                self._held.setdefault(Key(message.request, message.attempt), Held(message, buffers))
        elif link.address is None or not isinstance(message, (Answer, Failure, Credit)):
            raise FrameError(f"a {type(message).__name__} came against the direction of the link")
        self._passing = buffers
        nbytes = 0
        for buffer in buffers:
            nbytes += len(buffer)
        self._live.tell(Received(link.id, message, nbytes))
        self._passing = ()

    # Hands

    def _compute(self, command: Compute) -> None:
        held = [(key, self._held[key]) for key in command.keys]
        self._thread.put(Job(command.batch, tuple((key, one.infer, one.inputs) for key, one in held)))

    def _computed(self, event: Computed, outputs: Mapping[Key, list[Buffer]]) -> None:
        for key, buffers in outputs.items():
            held = self._held[key]
            held.inputs, held.outputs = [], buffers
        with self.cork:
            self._live.tell(event)

    def _send(self, command: Send) -> None:
        message = command.message
        buffers: list[Buffer] = []
        if isinstance(message, (Infer, Answer)):
            buffers = self._held.pop(Key(message.request, message.attempt)).outputs
        link = self._links.get(command.link)
        if link is None:
            return
        try:
            link.send(message, buffers)
        except FrameError as error:
            self._too_large(link, message, error)

    def _too_large(self, link: Link, message: Message, error: FrameError) -> None:
        """The other end would refuse the frame; what it would have said is said here."""
        if isinstance(message, Failure):  # only its words can be that many
            link.send(msgspec.structs.replace(message, message=message.message[:WORDS]))
            return
        assert isinstance(message, Infer | Answer)
        fault = Fault.of(error, self._stage)
        trail = message.trail
        failure = Failure(message.request, message.attempt, fault.kind, fault.message, fault.where, False, trail)
        if type(message) is Answer:
            link.send(failure)
        else:
            self._live.tell(Received(link.id, failure))
            self._live.tell(Received(link.id, Credit(1)))

    def _relay(self, command: Relay) -> None:
        link = self._links.get(command.link)
        if link is None:
            return
        try:
            link.send(command.message, list(self._passing) if type(command.message) is Answer else [])
        except FrameError as error:
            self._too_large(link, command.message, error)

    def _forget(self, command: Forget) -> None:
        self._held.pop(command.key, None)

    def _die(self, command: Die) -> None:
        self.hung = command.reason
        self.drained.set()

    def _broke(self, error: Exception) -> None:
        self.broken = error
        self.drained.set()

    def _stop(self, command: Stop) -> None:
        self.drained.set()
