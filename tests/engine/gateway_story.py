"""What stories about the gateway are told with."""

from cutwater.engine.gateway.admission import Admission
from cutwater.engine.gateway.gateway import Gateway, GatewayOptions
from cutwater.engine.vocabulary import (
    Asked,
    GatewayCommand,
    GatewayEvent,
    Key,
    Launch,
    LinkId,
    Opened,
    Received,
    Rerouted,
    Route,
)
from cutwater.units import RequestId, StageId
from cutwater.wire.message import Answer, Failure, Hop, Mark, TensorSpec

L1, L2, L3 = map(LinkId, (1, 2, 3))
A, B, C, D = (Hop(f"unix:{name}", "plain") for name in "abcd")
VIA_A, VIA_C = Route((A, B)), Route((C, B))
X = (TensorSpec("x", "float32", (1, 4), 16),)
R1, R2, R3, R4 = map(RequestId, (1, 2, 3, 4))


class Story:
    """A machine to tell events to; its books are checked after each."""

    def __init__(self, *routes: Route, window: int = 64, queue: int = 64, credits: int = 8) -> None:
        """The links to the first hops of ``routes`` are open; in their order they are called L1, L2, ..."""
        self.machine = Gateway(GatewayOptions(admission=Admission(window=window, queue=queue)))
        routes = routes or (VIA_A,)
        self.tell(Rerouted(routes), at=0.0)
        firsts = dict.fromkeys(route.hops[0].address for route in routes if not route.degraded)
        for link, address in enumerate(firsts, 1):
            self.tell(Opened(LinkId(link), credits, address), at=0.0)

    def tell(self, event: GatewayEvent, at: float) -> list[GatewayCommand]:
        commands = self.machine.handle(event, at)
        self.machine.validate()
        return commands

    def ask(
        self, request: RequestId, at: float, timeout: float = 10.0, priority: int = 0, client: str = ""
    ) -> list[GatewayCommand]:
        return self.tell(Asked(request, timeout, priority, client), at)

    def land(self, request: RequestId, at: float) -> list[RequestId]:
        """An answer comes; who is launched for it."""
        return [part.key.request for part in self.tell(Received(L1, answer(request)), at) if type(part) is Launch]


def launch(
    request: RequestId, link: LinkId = L1, route: Route = VIA_A, attempt: int = 1, budget: float = 10.0
) -> Launch:
    return Launch(link, Key(request, attempt), route, budget)


def answer(request: RequestId, attempt: int = 1, seconds: tuple[float, ...] = ()) -> Answer:
    """``seconds``: what each stage computed."""
    trail = tuple(Mark(StageId(""), 0.0, 0.0, taken, taken, 1, 0, 0, 0.0, 0.0) for taken in seconds)
    return Answer(request, attempt, "plain", X, trail)


def lost(request: RequestId, suspect: str, attempt: int = 1) -> Failure:
    """The first stage has lost the worker that had the request."""
    return Failure(request, attempt, "LinkLost", f"stage-1 lost its link to {suspect}", "stage-1", True, (), suspect)
