"""StatisticsBook: each model's `Statistics`, as a fold over what became of its requests."""

from cutwater.api.backend import Spell, Statistics
from cutwater.api.finished import Finished
from cutwater.observe.course import hops
from cutwater.units import Seconds


class _Model:
    """One model's sums."""

    __slots__ = ("batches", "compute", "entry", "exit", "fail", "last", "queue", "success")

    def __init__(self) -> None:
        self.success = Spell()
        self.fail = Spell()
        self.queue = self.entry = self.compute = self.exit = 0.0
        self.batches: dict[int, tuple[int, Seconds]] = {}
        """Batch at the first stage -> requests that were in such a batch, and its computing, once for each of them."""
        self.last = 0.0


class StatisticsBook:
    """Since the gateway started. All methods in one thread."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def observe(self, finished: Finished) -> None:
        """See `cutwater.api.finished.Observer`."""
        book = self._models.get(finished.model)
        if book is None:
            book = self._models[finished.model] = _Model()
        book.last = finished.at
        latency = finished.ended - finished.began
        if finished.fault:
            book.fail = Spell(book.fail.count + 1, book.fail.seconds + latency)
            return
        book.success = Spell(book.success.count + 1, book.success.seconds + latency)
        if finished.trail:
            _share_out(book, finished)

    def of(self, model: str) -> Statistics:
        """What is known of a model; nothing but zeros where it was not asked yet."""
        book = self._models.get(model)
        if book is None:
            return Statistics()
        answered = book.success.count
        return Statistics(
            success=book.success,
            fail=book.fail,
            queue=Spell(answered, book.queue),
            entry=Spell(answered, book.entry),
            compute=Spell(answered, book.compute),
            exit=Spell(answered, book.exit),
            batches={size: _runs(size, *book.batches[size]) for size in sorted(book.batches)},
            last=book.last,
        )


def _share_out(book: _Model, finished: Finished) -> None:
    """Every second of the latency goes to exactly one of queue, entry, compute and exit."""
    found = hops(finished)
    book.queue += found.wait
    book.entry += sum(found.seconds[:-1])
    book.exit += found.seconds[-1]
    for mark in finished.trail:
        turned = mark.decode + mark.encode
        computed = mark.finished - mark.started
        book.compute += computed
        book.entry += turned
        book.queue += mark.sent - mark.received - computed - turned
    first = finished.trail[0]
    many, seconds = book.batches.get(first.batch, (0, 0.0))
    book.batches[first.batch] = many + 1, seconds + first.finished - first.started


def _runs(size: int, requests: int, seconds: Seconds) -> Spell:
    """How often a batch of this size was computed: each of its requests has told of it once."""
    return Spell(max(1, round(requests / max(size, 1))), seconds / max(size, 1))
