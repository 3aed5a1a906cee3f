"""BackOff: how long to wait before the next try, longer after each that failed."""

import msgspec

from cutwater.units import Seconds


class BackOff(msgspec.Struct, frozen=True, kw_only=True):
    """The policy: doubling, up to a limit."""

    first: Seconds
    limit: Seconds

    def after(self, last: Seconds) -> Seconds:
        """The wait that follows one of ``last`` seconds; 0: there was none yet."""
        return min(2 * last, self.limit) if last else self.first
