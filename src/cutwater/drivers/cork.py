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
        self.held = False
        self.links: list[Corked] = []

    def __enter__(self) -> None:
        self.held = True

    def __exit__(self, *error: object) -> None:
        self.held = False
        links, self.links = self.links, []
        for link in links:
            link.flush()
