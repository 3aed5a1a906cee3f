"""Arena: which parts of a shared memory are in use; for the end that writes there and hears what is free again."""

from cutwater.errors import FrameError

PAGE = 4096
"""Bytes; places are multiples of it."""


class Arena:
    """Hands out the lowest place that fits, so that only as much memory is touched as was ever in use at once."""

    def __init__(self, size: int) -> None:
        """``size`` in bytes."""
        self._free = [(0, size)]
        """Gaps, in order, no two of which touch."""
        self._used: dict[int, int] = {}

    def take(self, nbytes: int) -> int | None:
        """A place for ``nbytes``, or None while there is no room."""
        size = nbytes + -nbytes % PAGE
        for index, (start, stop) in enumerate(self._free):
            if stop - start >= size:
                self._free[index : index + 1] = [(start + size, stop)] if stop - start > size else []
                self._used[start] = start + size
                return start
        return None

    def give_back(self, place: int) -> None:
        """Free ``place``. Raises FrameError if it is not in use: the other end does not keep to the protocol."""
        stop = self._used.pop(place, None)
        if stop is None:
            raise FrameError(f"place {place} of the shared memory was given back and is not in use")
        gaps: list[tuple[int, int]] = []
        for gap in sorted([*self._free, (place, stop)]):
            if gaps and gaps[-1][1] == gap[0]:
                gaps[-1] = (gaps[-1][0], gap[1])
            else:
                gaps.append(gap)
        self._free = gaps
