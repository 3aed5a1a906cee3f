"""Place: what a stage's worker knows of its place to compute at; who has one is decided in `cutwater.engine.turns`.

A turn makes waiting fair and short; nothing breaks without. So a worker that asks and hears nothing, because whoever
gives places is stopped, asks once more and then computes without one, asking rarely, until it is answered again.
"""

from cutwater.engine.turns import RENEWAL
from cutwater.engine.vocabulary import GiveBack, Go, Recall, StageCommand, Wait, Want
from cutwater.units import Seconds

SILENCE: Seconds = 1.0
"""How long a word may take to be answered."""
WORTH: Seconds = 5e-3
"""So long a turn may last in any case, if there is work: to hand it on takes a fraction of a millisecond, in which
nothing is computed."""
RARELY: Seconds = 10.0
"""How often one who was not answered asks."""


class Place:
    """Of one worker."""

    def __init__(self, least: Seconds) -> None:
        """``least``: batches that usually take less are computed without a place."""
        self._least = least
        self._held = False
        self._until: Seconds | None = None
        """It is only for what came no later than this; None: nobody waits for it."""
        self._keep = False
        self._since: Seconds = 0.0
        """When it was had, or called back."""
        self._asked: Want | None = None
        self._answer_by: Seconds = 0.0
        """When what was asked should have been answered."""
        self._again = False
        """It was asked a second time."""
        self._unheard = False
        """Nobody answers."""

    def may_compute(self, oldest: Seconds, usual: Seconds, now: Seconds, out: list[StageCommand]) -> bool:
        """Whether a batch whose first request came at ``oldest`` may start; what is to be said goes to ``out``."""
        if self._unheard:
            if now >= self._answer_by:
                self._answer_by = now + RARELY
                out.append(Want(oldest, usual, again=True))
            return True
        if usual < self._least:
            self._release(out)
            return True
        if self._held and (
            self._until is None
            or (oldest <= self._until and now < self._since + RENEWAL)
            or now + usual <= self._since + WORTH
        ):
            return True
        if self._asked is None:
            self._held, self._again = False, False
            self._asked, self._answer_by = Want(oldest, usual), now + SILENCE
            out.append(self._asked)
        return False

    def undisputed(self, usual: Seconds) -> bool:
        """Whether nobody else is known to wait for the place, or none is needed for batches that take ``usual``."""
        return self._unheard or usual < self._least or (self._held and self._until is None)

    def idle(self, out: list[StageCommand]) -> None:
        """There is nothing to compute."""
        if not self._keep or self._until is not None:
            self._release(out)

    def _release(self, out: list[StageCommand]) -> None:
        if self._held:
            self._held = False
            out.append(GiveBack())

    def told(self, word: Go | Recall | Wait, now: Seconds) -> None:
        """Whoever gives places has said this."""
        self._unheard = self._again = False
        self._answer_by = now + SILENCE
        if type(word) is Go:
            self._held, self._asked = True, None
            self._until, self._keep, self._since = word.until, word.keep, now
        elif type(word) is Recall and self._held:
            if self._until is None:
                self._since = now
            self._until = word.until

    def tick(self, now: Seconds, out: list[StageCommand]) -> None:
        """Time has passed; somebody may not have answered."""
        if self._asked is None or now < self._answer_by:
            return
        if self._again:
            self._asked, self._unheard, self._answer_by = None, True, now + RARELY
        else:
            self._again, self._answer_by = True, now + SILENCE
            out.append(Want(self._asked.since, self._asked.usual, again=True))

    def wake_at(self) -> Seconds | None:
        """When to look whether there was an answer; None: nothing is asked."""
        return self._answer_by if self._asked is not None else None

    def validate(self) -> None:
        """Raise AssertionError where its books contradict each other."""
        assert not (self._held and self._asked is not None)
        assert not (self._unheard and (self._held or self._asked is not None))
