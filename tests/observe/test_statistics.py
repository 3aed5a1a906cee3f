"""A model's statistics: every second of the latency belongs to exactly one of queue, entry, compute and exit."""

import pytest
from endings import HOP, LATENCY, MS, QUEUE, answered, failed

from cutwater.api.backend import Spell, Statistics
from cutwater.observe.statistics import StatisticsBook


def test_nothing_is_known_of_a_model_that_was_never_asked() -> None:
    assert StatisticsBook().of("vit") == Statistics()


@pytest.mark.parametrize("clocks", [(0.0, 0.0, 0.0), (-900.0, 12.0, 7e5)])
def test_seconds_are_shared_out(clocks: tuple[float, ...]) -> None:
    book = StatisticsBook()
    for _ in range(3):
        book.observe(answered(clocks))
    found = book.of("vit")
    assert found.success.count == 3
    assert found.success.seconds == pytest.approx(3 * LATENCY)
    assert found.queue.seconds == pytest.approx(3 * (QUEUE + 3 * 2 * MS)), "waiting, and holding for the next hop"
    assert found.compute.seconds == pytest.approx(3 * 3 * 4 * MS)
    assert found.entry.seconds + found.exit.seconds == pytest.approx(3 * (4 * HOP + 3 * 2 * MS))
    shares = found.queue.seconds + found.entry.seconds + found.compute.seconds + found.exit.seconds
    assert shares == pytest.approx(found.success.seconds)


def test_failures_are_counted_for_themselves() -> None:
    book = StatisticsBook()
    book.observe(answered())
    book.observe(failed())
    book.observe(failed("DeadlineExceeded", model="other"))
    assert book.of("vit").fail.count == 1
    assert book.of("vit").fail.seconds == pytest.approx(10 * MS)
    assert book.of("vit").success.count == 1
    assert book.of("other").success == Spell()
    assert book.of("vit").last == 1.7e9


def test_a_batch_of_four_was_computed_once_though_four_tell_of_it() -> None:
    book = StatisticsBook()
    for batch in (4, 4, 4, 4, 1, 1):
        book.observe(answered(batch=batch))
    batches = book.of("vit").batches
    assert {size: spell.count for size, spell in batches.items()} == {1: 2, 4: 1}
    assert batches[4].seconds == pytest.approx(4 * MS)
