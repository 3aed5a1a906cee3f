"""Lane and Source: the books of credit on a link that leads on, and on a link that requests come by."""

from cutwater.engine.vocabulary import Key, LinkId
from cutwater.wire.message import Address


class Lane:
    """A way on: the link to one address, or the wish for one."""

    __slots__ = ("address", "away", "credits", "link", "paused", "ready")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.link: LinkId | None = None
        self.credits = 0
        """How many more requests the other end has room for."""
        self.paused = False
        self.ready: dict[Key, None] = {}
        """Waiting to be handed on, in order."""
        self.away: set[Key] = set()
        """Handed on and not answered."""

    def open(self, link: LinkId, credits: int) -> None:
        """The link is up."""
        self.link = link
        self.credits = credits

    def close(self) -> None:
        """The link is gone, and with it everything that was under way on it."""
        self.link = None
        self.credits = 0
        self.paused = False
        self.away.clear()

    def send(self, key: Key) -> None:
        """``key`` uses one credit."""
        self.ready.pop(key, None)
        self.away.add(key)
        self.credits -= 1

    @property
    def usable(self) -> bool:
        """Whether a request can be sent right now."""
        return self.link is not None and self.credits > 0 and not self.paused


class Source:
    """Where requests come from: what the peer has here, and the credit owed to it."""

    __slots__ = ("credits", "keys", "lump", "owed", "riding", "under_way")

    def __init__(self, credits: int) -> None:
        self.credits = credits
        self.lump = max(1, credits // 2)
        """So much owed credit is worth a frame of its own, which wakes the peer up."""
        self.riding = max(1, credits // 4)
        """So much is worth a frame that rides with an answer, and costs only its few bytes."""
        self.keys: dict[Key, bool] = {}
        """Not answered yet -> whether its tensors are here."""
        self.under_way = 0
        """Requests of this peer whose tensors are here."""
        self.owed = 0
        """Credit that is free again and not yet given back."""

    @property
    def full(self) -> bool:
        """Whether the peer has used all credit it was given."""
        return self.under_way + self.owed >= self.credits

    def take(self, key: Key) -> None:
        """A request has come."""
        self.keys[key] = True
        self.under_way += 1

    def leave(self, key: Key) -> None:
        """Its tensors are no longer here."""
        if self.keys.get(key):
            self.keys[key] = False
            self.under_way -= 1
            self.owed += 1

    def end(self, key: Key) -> None:
        """It is answered."""
        if self.keys.pop(key, False):
            self.under_way -= 1
            self.owed += 1
