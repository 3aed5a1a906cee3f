"""Beds, where this machine lets them be made; elsewhere the tests say why they did not run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cutwater.errors import Unprivileged
from cutwater.lab.bed import Bed, Device

MakeBed = Callable[..., Bed]


@pytest.fixture
def make_bed() -> Iterator[MakeBed]:
    """Makes a bed of devices that is gone after the test; skips the test where none can be made."""
    with ExitStack() as stack:

        def make(*devices: Device) -> Bed:
            try:
                return stack.enter_context(Bed(devices, network="10.78.0"))
            except Unprivileged as error:
                pytest.skip(str(error))

        yield make
