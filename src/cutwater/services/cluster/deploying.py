"""Deploying: ask the coordinator for a deployment, and follow it until it is live."""

import asyncio
from collections.abc import Callable

from cutwater.drivers.live import clock
from cutwater.engine.coordinator.deployment import needs_plan
from cutwater.engine.facts.deployments import DeploySpec, EpochPhase
from cutwater.errors import DeadlineExceeded, NoPlan, NoReply
from cutwater.fabric.base import Fabric
from cutwater.services.asking import (
    ClusterStatus,
    Deploy,
    DeploymentStatus,
    Done,
    EpochStatus,
    GetStatus,
    ask_coordinator,
)
from cutwater.units import Seconds

LOOK: Seconds = 0.25
"""How often to ask how far it is."""
ANSWER: Seconds = 10.0

_COMING = (EpochPhase.STARTING, EpochPhase.PROBING)


async def deployment_of(fabric: Fabric, model: str) -> DeploymentStatus | None:
    """How a model is deployed; None: it is not. Raises NoReply where no coordinator leads."""
    status = await ask_coordinator(fabric, GetStatus(), ClusterStatus)
    return next((each for each in status.deployments if each.spec.model == model), None)


async def deploy(fabric: Fabric, spec: DeploySpec) -> int:
    """Ask for a deployment; returns the newest epoch there was before, which does not count where it was another.

    Raises:
        NoReply: no coordinator leads.
        NotFound: the model is not known.
        CutwaterError: why else it is not done.
    """
    before = await deployment_of(fabric, spec.model)
    await ask_coordinator(fabric, Deploy(spec), Done, ANSWER)
    kept = before is not None and not before.removed and not needs_plan(before.spec, spec)
    return 0 if before is None or kept else max((epoch.epoch for epoch in before.epochs), default=0)


async def until_live(
    fabric: Fabric,
    spec: DeploySpec,
    after: int,
    limit: Seconds,
    told: Callable[[DeploymentStatus], None] = lambda status: None,
) -> DeploymentStatus:
    """Wait until an epoch newer than ``after`` is live, or one that fits what was asked already.

    Args:
        fabric: where the coordinator is asked.
        spec: what was asked.
        after: see `deploy`.
        limit: how long to wait.
        told: called with how far it is, now and then.

    Raises:
        NoPlan: it came to nothing; says why.
        DeadlineExceeded: it is not live in time; it may still become so.
    """
    until = clock() + limit
    while clock() < until:
        try:
            found = await deployment_of(fabric, spec.model)
        except NoReply:
            found = None  # another coordinator takes over
        if found is not None and found.spec == spec:
            told(found)
            coming = any(epoch.phase in _COMING for epoch in found.epochs)
            newest = live_epoch(found)
            if newest is not None and newest.epoch > after and not coming:
                return found
            if found.problem and not coming:
                raise NoPlan(f"{spec.model} is not deployed so: {found.problem}")
        await asyncio.sleep(LOOK)
    raise DeadlineExceeded(f"{spec.model} is not live after {limit:g} s; `cutwater status` tells how far it is")


def live_epoch(deployment: DeploymentStatus) -> EpochStatus | None:
    """The newest epoch that answers."""
    return next((epoch for epoch in reversed(deployment.epochs) if epoch.phase is EpochPhase.LIVE), None)
