"""What a gateway says of its models: one tally for each, whatever becomes of it."""

from pathlib import Path

from fabric_bed import story

from cutwater.engine.facts.gateways import RouteTable
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.gateway.gateway import GatewayProcess
from cutwater.settings.settings import Settings


@story
async def test_a_model_that_is_leaving_and_asked_for_has_one_tally(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        gateway = GatewayProcess(Settings(home=tmp_path), fabric)

        def refused() -> list[tuple[str, int]]:
            return [(tally.model, tally.refused) for tally in gateway.beat().models]

        gateway.reception.missed.update(m=2, x=1)
        assert refused() == [("m", 2), ("x", 1)]
        gateway._see(RouteTable(model="m", term=1, mark="1"))
        assert refused() == [("m", 2), ("x", 1)]
        gateway._see(RouteTable(model="m", term=1, mark="2", removed=True))
        gateway.reception.missed["m"] += 1
        assert refused() == [("m", 3), ("x", 1)]
        assert gateway.beat().models[0].mark == "2"
        await gateway._errands.end()
