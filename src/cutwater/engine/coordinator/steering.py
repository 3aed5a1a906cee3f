"""CoordinatorOptions: how the coordinator steers, each option said once."""

import msgspec

from cutwater.engine.facts.nodes import LEASE
from cutwater.units import Seconds


class CoordinatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How patient, how bold and how thrifty the coordinator is."""

    lease: Seconds = LEASE
    """Nodes and gateways that are silent for so long are gone."""
    resend: Seconds = 2.0
    """A node or gateway that does not show what it was told so long ago is told again."""

    credits: int = 16
    """How many requests each link may have waiting at a worker."""
    max_frame: int = 256 * 2**20
    """Largest frame a worker accepts, in bytes."""
    most_routes: int = 64
    """Of one chain in a table; beyond it the ways over the last replicas are left out."""

    start_timeout: Seconds = 180.0
    """Time for all workers of an epoch to be fetched and loaded."""
    probe_timeout: Seconds = 20.0
    """Time for the gateways to send one request through every chain."""
    drain_timeout: Seconds = 60.0
    """Time for what is under way on an epoch that was switched from."""
    load_failures: int = 3
    """A worker that ends so often before it serves fails its epoch."""
    crash_limit: int = 5
    """A worker that ends so often within ``crash_window`` makes its node unfit for the model."""
    crash_window: Seconds = 60.0
    suspect_for: Seconds = 5.0
    """A worker that a gateway gets no answer from for so long, though its node says that it serves, makes its node
    unfit for the model."""
    unfit_for: Seconds = 15.0
    """How long an unfit node is left out of the model's plans; twice as long each time that it fails again within
    ``unfit_memory``, up to ``unfit_limit``."""
    unfit_memory: Seconds = 300.0
    unfit_limit: Seconds = 120.0
    retry: Seconds = 1.0
    """Pause after a failed plan or roll-out; doubles with every further one."""
    retry_limit: Seconds = 60.0
    plan_timeout: Seconds = 7200.0
    """A plan that was not answered for so long is asked for again. It may wait behind many others, and the planner
    gives up one that takes too long: this is for an answer that was lost."""

    gain: float = 1.15
    """How many times better than the live plan a new one must be, while the live one can run."""
    interval: Seconds = 60.0
    """At most one voluntary switch of a deployment within so long."""
    calm: Seconds = 2.0
    """A change is acted on when nothing else has changed for so long."""
    consider: Seconds = 10.0
    """Least time between two plans that are made to see whether a switch pays."""
    voluntary_plans: int = 2
    """Most such plans under way at once in the cluster."""
    link_change: float = 1.5
    """A link that is so many times faster or slower than before is a change."""

    trial: Seconds = 20.0
    """After a voluntary switch the old epoch is kept warm for so long, if nobody needs its memory."""
    trial_margin: float = 0.1
    """Measured worse than before by this share, the switch is undone."""
    avoid: Seconds = 300.0
    """After a switch that was undone or failed, no voluntary one for so long."""

    slow: float = 2.0
    """A node whose workers take so many times longer than predicted, compared with the fleet, is slow."""
    slack: Seconds = 1e-3
    """Of each request's computing, forgiven before it is compared: what is fixed weighs most where a stage is small."""
    slow_for: Seconds = 5.0
    """A node is slow when it has looked so for this long."""
    well_for: Seconds = 20.0
    """A slow node is well again when it has looked so for this long."""
    evidence: int = 5
    """Fewest beats of a node that computed, before it is thought slow, or well again."""
    smoothing: float = 0.2
    """How much less older work counts in a node's pace with each beat that tells of newer."""
    slow_memory: Seconds = 300.0
    """A slow node that runs nothing counts as well again after so long."""

    park_after: Seconds = 10.0
    """Only deployments that nobody has used for so long are parked to make room."""

    scale_headroom: float = 0.15
    """Of what a deployment that follows its demand can do, the share that is kept free."""
    scale_hold: Seconds = 60.0
    """Fewer chains must have been enough for so long before any are taken back."""
    scale_hold_growth: float = 8.0
    """Where more were needed again soon, it doubles; up to so many times."""
    scale_brief: Seconds = 3.0
    """While others have too few, they must only have been enough for so long."""
    scale_takes: Seconds = 10.0
    """What another chain is thought to take, until it was seen."""
    scale_again: Seconds = 10.0
    """Where there was no room for another chain, it is tried again after so long."""
    scale_worth: float = 0.25
    """A further chain that does a lesser share of what the others do on average is not worth its memory."""

    survey_peers: int = 16
    """Most links a joining node measures."""
    survey_timeout: Seconds = 20.0
    """A measurement that takes longer is given up; the next node's turn."""
    survey_again: Seconds = 300.0
    """After about so long a link is measured again; in a cluster with many links, when its turn comes."""
    survey_rest: Seconds = 5.0
    """Least time between two links that are measured again: the nodes have other things to do."""
    survey_retry: Seconds = 10.0
    """A link that could not be measured is tried again after so long; doubles, up to ``survey_again``."""
    survey_load: float = 0.8
    """A node that uses a larger share of its cores is left alone: it would measure its load, not the link."""
    survey_patience: Seconds = 3.0
    """How long a first plan waits for links that are being measured."""
