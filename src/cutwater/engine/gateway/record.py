"""Record: what the gateway knows of one request it has accepted and not answered."""

from cutwater.engine.fault import Fault
from cutwater.engine.gateway.retries import STRIKES
from cutwater.engine.gateway.ways import Way
from cutwater.engine.lives import Flight
from cutwater.engine.vocabulary import Asked, Key, LinkId
from cutwater.units import Seconds

QUEUED = Flight.QUEUED  # looking a member up takes long


class Record:
    """One flight; changed only by the `Gateway`, its `Flights` and their `Line`."""

    __slots__ = (
        "asked",
        "attempt",
        "before",
        "beyond",
        "deadline",
        "faults",
        "key",
        "launched",
        "link",
        "request",
        "state",
        "turn",
        "way",
    )

    def __init__(self, asked: Asked, now: Seconds) -> None:
        self.asked = asked
        self.request = asked.request
        self.deadline = now + asked.timeout
        self.attempt = 0
        """How often it was launched; an answer to an earlier attempt is not its answer."""
        self.state = QUEUED
        self.turn = -1
        """In which round of its line it is to fly, while it stands there; -1: it does not."""
        self.key: Key
        """Of the newest attempt, from its launch on."""
        self.launched: Seconds
        """When that was."""
        self.before: int
        """How many others were flying then."""
        self.beyond: Seconds = 0.0
        """How much longer those were expected to take, because of other models on their nodes."""
        self.way: Way | None = None
        """While it is flying."""
        self.link: LinkId | None = None
        self.faults: tuple[Fault, ...] = ()
        """How those of its attempts ended that may have taken a worker down."""

    @property
    def alone(self) -> bool:
        """Whether one more fault ends it. Then it must not be another's: such requests fly one after the other."""
        return len(self.faults) >= STRIKES - 1
