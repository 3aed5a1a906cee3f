"""Cork: holds back what is written to several links, so that each writes once."""

from typing import Protocol


class Corked(Protocol):
    """What gathers while the cork is held."""

    def flush(self) -> None:
        """Write what was gathered."""
        ...


class Cork:
    """While it is held, links gather what is sent; then each writes once. One for all links of an owner."""

    def __init__(self) -> None:
        self.held = 0
        """How many hold it: a batch may be computed, and sent, while a frame is handled."""
        self.links: list[Corked] = []

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *error: object) -> None:
        self.held -= 1
        if self.held or not self.links:
            return
        links, self.links = self.links, []
        for link in links:
            link.flush()
