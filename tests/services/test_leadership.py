"""A coordinator's term: what it says of a deployment's trouble."""

from pathlib import Path

from fabric_bed import story

from cutwater.engine.control import MakePlan, Planned
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.engine.fault import Fault
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.cache import BlobCache
from cutwater.services.coordinator.leadership import CoordinatorMeans, Leadership
from cutwater.services.coordinator.planning import PlannerProcess
from cutwater.services.coordinator.state import read_state
from cutwater.units import NodeId


class Hopeless(PlannerProcess):
    """Finds no plan for anything."""

    async def plan(self, command: MakePlan) -> Planned:
        fault = Fault("NoPlan", "no node has room", "planner")
        return Planned(model=command.spec.model, ticket=command.ticket, fault=fault)


@story
async def test_a_plan_that_nobody_needs_any_more_is_no_trouble_of_its_deployment(tmp_path: Path) -> None:
    async with MemoryFabric(MemoryServer()) as fabric:
        blob = (await fabric.blobs.put(b"a model")).hash
        state = await fabric.keys("state")
        cache = BlobCache(tmp_path / "cache", 1000, fabric.blobs)
        means = CoordinatorMeans("c", fabric, state, cache, Hopeless(cache.folder))
        leadership = Leadership(means, 1, await read_state(state))
        record = ModelRecord(name="m", hash="h", blob=blob, nbytes=7, profile=blob, speed=1.0)
        await leadership._plan(
            MakePlan(
                ticket=1,
                spec=DeploySpec(model="m"),
                record=record,
                nodes=(),
                links=(),
                source=NodeId("a"),
                source_host="a",
            )
        )
        assert leadership._desk.problems == {}
