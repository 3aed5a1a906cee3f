"""Routes: the ways through an epoch's workers as one gateway sees them, from where it is."""

from collections.abc import Callable, Sequence
from itertools import islice, product

from cutwater.engine.coordinator.rollout import Epoch, Worker
from cutwater.engine.facts.deployments import Chain
from cutwater.engine.facts.gateways import EpochTable
from cutwater.engine.vocabulary import Route
from cutwater.units import NodeId
from cutwater.wire.codecs.registry import get_codec
from cutwater.wire.message import Address, Hop

HostOf = Callable[[NodeId], str | None]
"""The host of a node that lives; None: it does not."""


def epoch_table(epoch: Epoch, host: str, host_of: HostOf, most: int) -> EpochTable:
    """All ways of ``epoch`` for a gateway on ``host``; workers that do not serve leave out the ways over them.

    Args:
        epoch: its workers as they are now.
        host: where the requests start.
        host_of: where the workers are.
        most: routes of one chain at most; those without spare workers come first.
    """
    doors = tuple((chain.entry, chain.exit) for chain in epoch.staying.values())
    routes: list[Route] = []
    for c, chain in epoch.staying.items():
        usable = [[w for w in stage if w.ready and host_of(w.node) is not None] for stage in _stages(epoch, c, chain)]
        normal = product(*([w for w in stage if not w.spare] for stage in usable))
        spare = (way for way in product(*usable) if any(w.spare for w in way))
        found: list[Route] = []
        for ways in (normal, spare):
            made = (_route(epoch, c, chain, way, host, host_of) for way in ways)
            found += islice((route for route in made if route is not None), most - len(found))
        routes += found
    numbers = tuple(epoch.staying)
    numbers = () if numbers == tuple(range(len(numbers))) else numbers
    return EpochTable(epoch=epoch.number, token=epoch.token, routes=tuple(routes), doors=doors, chains=numbers)


def _stages(epoch: Epoch, c: int, chain: Chain) -> list[list[Worker]]:
    stages: list[list[Worker]] = [[] for _ in chain.parts]
    for worker in epoch.workers.values():
        if worker.chain == c:
            stages[worker.stage].append(worker)
    return stages


def _route(epoch: Epoch, c: int, chain: Chain, way: Sequence[Worker], host: str, host_of: HostOf) -> Route | None:
    """The route over these workers; None where one of them cannot be reached from the one before."""
    packings = [get_codec(name).packing.name for name in chain.plan.codecs]
    hops: list[Hop] = []
    at = host
    for worker, packing in zip(way, packings, strict=False):  # the last packing is the answer's
        there = host_of(worker.node)
        assert worker.state is not None and there is not None
        address = closest(worker.state.addresses, local=there == at)
        if address is None:
            return None
        hops.append(Hop(address, packing))
        at = there
    return Route(
        hops=tuple(hops),
        reply_packing=packings[-1],
        epoch=epoch.number,
        chain=c,
        seconds=tuple(worker.spec.seconds for worker in way),
        latency=chain.plan.score.latency,
        spare=any(worker.spare for worker in way),
        nodes=tuple(worker.node for worker in way),
        batch=max(worker.spec.batching.limit for worker in way),
    )


def closest(addresses: Sequence[Address], *, local: bool) -> Address | None:
    """The best of a worker's addresses: on one host its Unix socket, else TCP; None where there is no way."""
    unix = next((address for address in addresses if address.startswith("unix:")), None)
    tcp = next((address for address in addresses if address.startswith("tcp:")), None)
    return (unix or tcp) if local else tcp
