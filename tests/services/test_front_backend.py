"""What a gateway says of a model that it does not serve: whether to wait for it, or to do something about it."""

import asyncio

import numpy as np
import pytest

from cutwater.api.backend import Ask, Standing, Statistics
from cutwater.engine.facts.deployments import DeploySpec
from cutwater.engine.facts.models import ModelRecord
from cutwater.errors import BadSetting, CutwaterError, NotFound, Refused
from cutwater.fabric.memory import MemoryFabric, MemoryServer
from cutwater.services.asking import ClusterStatus, DeploymentStatus
from cutwater.services.front.backend import GatewayBackend
from cutwater.services.front.picture import Picture
from cutwater.units import GatewayId

RECORD = ModelRecord(name="vit", hash="h", blob="b", nbytes=1, profile="p", speed=1.0)


def deployed(problem: str = "", *, removed: bool = False) -> DeploymentStatus:
    return DeploymentStatus(
        spec=DeploySpec(model="vit"),
        parked=False,
        removed=removed,
        epochs=(),
        rate=0.0,
        p50=0.0,
        p99=0.0,
        problem=problem,
    )


def backend(fabric: MemoryFabric, *deployments: DeploymentStatus, heard: bool = True) -> GatewayBackend:
    """Of a gateway that serves nothing, in a cluster that knows the model "vit"."""
    picture = Picture(fabric)
    if heard:
        picture.status = ClusterStatus(
            leader="c", term=1, since="", nodes=(), gateways=(), models=(RECORD,), deployments=deployments, links=()
        )
        picture.models = {"vit": RECORD}
        picture.deployments = {each.spec.model: each for each in deployments}
    return GatewayBackend(GatewayId("g"), {}, picture, fabric, lambda name: Statistics())


def answer(*deployments: DeploymentStatus, model: str = "vit", heard: bool = True) -> tuple[type[CutwaterError], str]:
    async def story() -> tuple[type[CutwaterError], str]:
        async with MemoryFabric(MemoryServer()) as fabric:
            with pytest.raises(CutwaterError) as caught:
                await backend(fabric, *deployments, heard=heard).infer(Ask(model, {"x": np.zeros(1)}))
            return type(caught.value), str(caught.value)

    return asyncio.run(story())


def test_a_model_that_comes_up_is_worth_waiting_for() -> None:
    kind, why = answer(deployed())
    assert (kind, "being brought up" in why) == (Refused, True)
    kind, why = answer(deployed("no node has room"))
    assert (kind, "no node has room" in why) == (Refused, True)


def test_a_model_that_is_not_deployed_is_not_found_and_how_to_deploy_it_is_said() -> None:
    for found in (answer(), answer(deployed(removed=True))):
        assert found[0] is NotFound
        assert "`cutwater deploy vit`" in found[1]


def test_names_nobody_knows_are_not_said_in_full() -> None:
    kind, why = answer(model="vti" * 100_000)
    assert (kind, len(why) < 200) == (NotFound, True)


def test_before_the_coordinator_has_answered_nobody_knows_which_models_there_are() -> None:
    assert answer(heard=False)[0] is Refused


@pytest.mark.parametrize("options", [{"stages": -4, "oops": 1}, {"timeout": "soon"}, {"stagse": 2}])
def test_an_option_that_makes_no_sense_is_named(options: dict[str, object]) -> None:
    async def story() -> None:
        async with MemoryFabric(MemoryServer()) as fabric:
            found = backend(fabric)
            assert found.model("vit").standing is Standing.UNAVAILABLE
            with pytest.raises(BadSetting, match=r"oops|timeout|did you mean 'stages'"):
                await found.load("vit", options)

    asyncio.run(story())
