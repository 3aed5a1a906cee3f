"""Settings: everything about a cluster that can be set, said once.

From the fields below come the keys of the file, the variables of the environment, the flags of the commands, and
docs/settings.md. The field ``memory`` of `NodeSettings` is ``node.memory`` in the file and ``CUTWATER_NODE_MEMORY``
in the environment. None stands for "decided on the spot", as the field's docstring says.
"""

import msgspec

from cutwater.settings.kinds import (
    Amount,
    Count,
    Duration,
    File,
    LogFormat,
    LogLevel,
    Number,
    Secret,
    Share,
    Size,
    Switch,
    Text,
    Word,
)


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The processes that `cutwater up` starts on this machine."""

    nodes: Amount = 3
    """Node agents: node-1, node-2, ...; 0: neither nodes nor a gateway are started here, all join by invitation."""
    coordinators: Count = 1
    """Coordinators: one leads, the others stand by."""
    start_limit: Duration = 30.0
    """How long a process may take until it serves."""
    stop_limit: Duration = 10.0
    """How long a process may take to finish what it has before it is killed."""
    log_limit: Size = 16 * 2**20
    """How long a log may become; the one before it is kept as well."""


class FabricSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The messaging system that carries the control plane."""

    url: Text = ""
    """A NATS server or cluster of your own, such as nats://host:4222; empty: the one that `cutwater up` starts."""
    listen: Text = "127.0.0.1"
    """Address the started server listens on."""
    port: Count | None = None
    """Port the started server listens on; none: one that is free."""
    store: Size = 10 * 2**30
    """How much the started server may keep on disk: models, stages and state."""
    ca: File | None = None
    """Certificate of the authority that has signed the server's certificate (PEM)."""
    certificate: File | None = None
    """Certificate with which this process shows who it is (PEM)."""
    key: File | None = None
    """The certificate's key (PEM)."""
    seed: File | None = None
    """NKey seed with which this process shows its role."""
    revocations: File | None = None
    """List of certificates that count no more, signed by the authority (PEM)."""


class CoordinatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A coordinator."""

    name: Word = ""
    """How it is called; empty: after the machine."""
    gain: Share = 0.2
    """By how much a new plan must be better than the one that runs before it replaces it."""
    interval: Duration = 60.0
    """Least time between two changes of a plan whose nodes are all alive."""
    scale_headroom: Share = 0.15
    """Of what a deployment that follows its demand can do, the share that is kept free."""
    scale_hold: Duration = 60.0
    """For so long fewer chains must have been enough before any are taken back."""
    trace: File | None = None
    """Folder in which what the coordinator is told and decides is recorded; none: nothing is."""


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A node agent."""

    name: Word = ""
    """How the node is called; empty: as the machine is."""
    memory: Size | None = None
    """What its workers may use together; none: four fifths of what the machine has, shared by its nodes."""
    cores: Count | None = None
    """Cores its workers may use, and so, over threads, how many compute at once; none: all that this process may."""
    threads: Count = 1
    """Threads inside one op, per worker."""
    speed: Number | None = None
    """Speed index; none: it is measured."""
    host: Text = ""
    """Nodes that say the same share cores and Unix sockets; empty: the machine's id."""
    listen: Text = ""
    """Address on which workers take links from other machines; empty: only from this one."""
    cache: File | None = None
    """Folder for stage files; none: in the cluster's home."""
    cache_limit: Size = 8 * 2**30
    """How much the folder may hold; what was not used for longest makes room."""
    grace: Duration = 10.0
    """How long a worker may take to finish what it has."""
    reserve: Amount = 1
    """Idle worker processes kept while workers run, so that one that dies is back sooner; each takes some 60 MB."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway, where clients come in."""

    name: Word = ""
    """How the gateway is called; empty: after the machine."""
    node: Word = ""
    """The node on whose machine it runs, where requests are born; empty: node-1 of a local cluster."""
    clients: Text = ""
    """Address for clients, such as tcp:127.0.0.1:7070; empty: only a Unix socket in the home."""
    http: Text = "127.0.0.1:8000+"
    """Where clients come in by HTTP, host:port; a + takes the next port that is free; empty: nowhere."""
    grpc: Text = "127.0.0.1:8001+"
    """Where clients come in by gRPC, as for http."""
    drills: Switch = False
    """Whether workers of this home may be killed or stopped on purpose from the dashboard."""
    patience: Duration = 1.0
    """How long requests wait for a worker before the gateway answers by itself, where it can."""
    linger: Duration = 10.0
    """How long workers must be back before the gateway stops answering by itself."""
    memory: Size | None = None
    """What whole models for answering by itself may use; none: half of what is free."""
    max_request: Size = 256 * 2**20
    """The largest request it takes, and answer; stages take 256 MiB at most, whatever is set here."""
    token: Secret = ""
    """What clients must show; empty: nothing. Wanted where clients come in from other machines without TLS."""
    trace: File | None = None
    """Folder in which what each model's gateway is told and does is recorded; none: nothing is."""


class ObserveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What processes tell those who watch them."""

    log_format: LogFormat = "text"
    """How log lines are written: text for people, json for collectors, one object a line."""
    log_level: LogLevel = "info"
    """The least that is logged; at debug also a line for each request that was answered."""
    otlp: Text = ""
    """Collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318; empty: none are made."""
    share: Share = 0.01
    """Part of the requests that are traced whose clients say nothing about it; those that trace decide themselves."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    home: File | None = None
    """Folder of the cluster: processes, logs, sockets, store; none: ~/.local/state/cutwater/default."""
    cluster: ClusterSettings = ClusterSettings()
    fabric: FabricSettings = FabricSettings()
    coordinator: CoordinatorSettings = CoordinatorSettings()
    node: NodeSettings = NodeSettings()
    gateway: GatewaySettings = GatewaySettings()
    observe: ObserveSettings = ObserveSettings()
