"""A gateway's native door on a backend, where the other doors are `HttpServer` and `GrpcServer`."""

from two_x import TwoX

from cutwater.api.backend import Ask
from cutwater.engine.facts.gateways import RouteTable
from cutwater.errors import CutwaterError
from cutwater.services.front.host import Reply
from cutwater.services.gateway.reception import Reception, ReceptionOptions
from cutwater.units import RequestId, Seconds


class NativeServer:
    """Takes links in for all models of the backend."""

    def __init__(self, backend: TwoX, where: str) -> None:
        self._where = where
        self._reception = Reception({card.name: Answering(backend) for card in backend.models()}, OPTIONS)

    async def start(self) -> str:
        return (await self._reception.open(f"tcp:{self._where}")).removeprefix("tcp:")

    async def stop(self, grace: Seconds) -> None:
        self._reception.close()


OPTIONS = ReceptionOptions(name="gateway-1")


class Answering:
    """See `Host`."""

    able = True
    table = RouteTable(model="m", term=0)

    def __init__(self, backend: TwoX) -> None:
        self._backend = backend

    async def ask(self, ask: Ask) -> Reply:
        try:
            answered = await self._backend.infer(ask)
        except CutwaterError as error:
            return Reply(RequestId(1), {}, (), error)
        return Reply(RequestId(len(self._backend.asked)), answered.outputs, (), degraded=answered.degraded)

    def refuse(self, why: str) -> None:
        raise AssertionError(why)
