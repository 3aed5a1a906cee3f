"""Room: how much memory the requests and answers of one door may take together."""

from cutwater.errors import Refused


class Room:
    """Bytes of all requests and answers a server holds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, nbytes: int) -> None:
        """Raises Refused where there is no room."""
        if self.held + nbytes > self.limit:
            raise Refused(f"requests of {self.held} bytes are under way, and {self.limit} are taken; ask again later")
        self.held += nbytes
