"""build_problem: cuts, measured costs and a fleet in, the arrays of a Problem out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutwater.cut.lattice import Lattice
from cutwater.errors import BadFile, did_you_mean
from cutwater.plan.fleet import Fleet, Node
from cutwater.plan.plan import CutRef
from cutwater.plan.problem import Floats, Ints, Limits, Problem, pack_masks
from cutwater.profile.predict import prefix_seconds
from cutwater.profile.profile import BorderSample, Profile


def build_problem(
    lattice: Lattice,
    profile: Profile,
    fleet: Fleet,
    *,
    profiles: Mapping[str, Profile] | None = None,
    codecs: Sequence[str] | None = None,
    budget: float = 0.0,
    depth: int = 2,
    batch: int = 1,
    limits: Limits | None = None,
) -> Problem:
    """The planning problem of one model on one fleet.

    Args:
        lattice: The cuts to choose from.
        profile: Measured costs, for every node without a profile of its own.
        profiles: What the nodes' ``profile`` fields name.
        codecs: Names of the codecs to choose from; None: all that were measured. "raw" is always among them.
        budget: Largest relative error of the outputs that the codec of one hop may cause; 0: lossless codecs only.
        depth: Batches buffered on each side of a stage.
        batch: Most requests of a batch, for which a stage needs memory; models of a fixed batch have one.
        limits: How many stages and replicas, and which stage must run where.

    Raises:
        BadFile: A node names a profile that is not in ``profiles``, or a profile belongs to another model.
    """
    own = [_profile_of(node, profile, profiles or {}) for node in fleet.nodes]
    for measured in own:
        if measured.model_hash != lattice.graph.hash:
            raise BadFile(
                f"the profile of {measured.model!r} was measured on another model than {lattice.graph.name!r}; "
                "measure it again"
            )
    speed = np.array([node.speed for node in fleet.nodes])
    names = ("raw", *(name for name in dict.fromkeys(codecs or _measured(profile)) if name != "raw"))
    tables = {id(p): _codec_table(p, names, lattice) for p in (profile, *own)}
    common = tables[id(profile)]
    return Problem(
        **_cuts(lattice),
        **_nodes(lattice, fleet, own, speed),
        **_links(fleet, own, speed),
        **_shared(fleet),
        codecs=names,
        size=common.size,
        encode=np.stack([tables[id(p)].encode for p in own]) / speed[:, None, None],
        decode=np.stack([tables[id(p)].decode for p in own]) / speed[:, None, None],
        allowed=_lossless(names)[:, None] | (common.error <= budget),
        depth=depth,
        batch=batch if lattice.graph.batchable else 1,
        limits=limits or Limits(),
    )


def _cuts(lattice: Lattice) -> dict[str, Any]:
    return {
        "model": lattice.graph.name,
        "model_hash": lattice.graph.hash,
        "cuts": tuple(CutRef(before=f"{cut.before:x}", label=cut.label) for cut in lattice.cuts),
        "covers": lattice.covers,
        "masks": pack_masks([cut.before for cut in lattice.cuts]),
        "complete": lattice.complete,
        "flops": np.array([float(cut.flops_before) for cut in lattice.cuts]),
        "weight": np.array([float(cut.weight_bytes_before) for cut in lattice.cuts]),
        "border": _borders(lattice),
    }


def _borders(lattice: Lattice) -> Floats:
    return np.array([float(cut.border_bytes) for cut in lattice.cuts])


def _nodes(lattice: Lattice, fleet: Fleet, own: Sequence[Profile], speed: Floats) -> dict[str, Any]:
    """What each node costs, by its ``own`` profile, and which of them are the ends."""
    prefixes = {id(p): np.asarray(prefix_seconds(p, lattice.graph, lattice.cuts), float) for p in own}
    position = {node.name: k for k, node in enumerate(fleet.nodes)}
    return {
        "nodes": tuple(node.name for node in fleet.nodes),
        "prefix": np.stack([prefixes[id(p)] for p in own]) / speed[:, None],
        "overhead": np.array([p.stage_overhead for p in own]) / speed,
        "contention": np.array([max(p.contention, 1.0) for p in own]),
        "threads": np.array([node.threads for node in fleet.nodes]),
        "runs": np.array([node.stages for node in fleet.nodes]),
        "base_memory": np.array([float(p.base_memory) for p in own]),
        "memory": np.array([np.inf if node.memory is None else float(node.memory) for node in fleet.nodes]),
        "source": position[fleet.source],
        "sink": position[fleet.source if fleet.sink is None else fleet.sink],
    }


def _profile_of(node: Node, profile: Profile, profiles: Mapping[str, Profile]) -> Profile:
    if node.profile is None:
        return profile
    if node.profile not in profiles:
        raise BadFile(f"node {node.name!r} names the profile {node.profile!r}{did_you_mean(node.profile, profiles)}")
    return profiles[node.profile]


def _measured(profile: Profile) -> list[str]:
    return [sample.codec for sample in profile.borders]


def _lossless(codecs: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([name.partition("+")[0] == "raw" for name in codecs])


@dataclass(frozen=True, slots=True)
class _CodecTable:
    """[K, C] each: bytes on the wire, seconds on the profile's device, relative error."""

    size: Floats
    encode: Floats
    decode: Floats
    error: Floats


def _codec_table(profile: Profile, codecs: Sequence[str], lattice: Lattice) -> _CodecTable:
    """Measured costs where there are any; elsewhere the codec's mean ratio and cost per byte, and its worst error."""
    at = {f"{cut.before:x}": c for c, cut in enumerate(lattice.cuts)}
    border, shape = _borders(lattice), (len(codecs), len(lattice.cuts))
    table = _CodecTable(np.tile(border, (len(codecs), 1)), np.zeros(shape), np.zeros(shape), np.zeros(shape))
    for k, codec in enumerate(codecs):
        samples = [sample for sample in profile.borders if sample.codec == codec]
        placed = [sample for sample in samples if sample.cut in at]
        raw_bytes = sum(float(border[at[sample.cut]]) for sample in placed)
        if raw_bytes > 0:
            table.size[k] = border * (sum(sample.nbytes for sample in placed) / raw_bytes)
            table.encode[k] = border * (sum(sample.encode for sample in placed) / raw_bytes)
            table.decode[k] = border * (sum(sample.decode for sample in placed) / raw_bytes)
            table.error[k] = max(sample.error for sample in placed)
        elif codec != "raw":
            table.error[k] = np.inf
        for sample in placed:
            _place(table, k, at[sample.cut], sample)
    return table


def _place(table: _CodecTable, k: int, c: int, sample: BorderSample) -> None:
    table.size[k, c] = sample.nbytes
    table.encode[k, c] = sample.encode
    table.decode[k, c] = sample.decode
    table.error[k, c] = sample.error


def _links(fleet: Fleet, profiles: Sequence[Profile], speed: Floats) -> dict[str, Any]:
    count = len(fleet.nodes)
    media = list(fleet.media)
    arrays: dict[str, Floats | Ints] = {
        "latency": np.full((count, count), np.inf),
        "bandwidth": np.zeros((count, count)),
        "medium": np.full((count, count), -1),
    }
    for name in ("send_fixed", "send_per_byte", "receive_fixed", "receive_per_byte"):
        arrays[name] = np.zeros((count, count))
    for a, sender in enumerate(fleet.nodes):
        arrays["latency"][a, a], arrays["bandwidth"][a, a] = 0.0, np.inf
        for b, receiver in enumerate(fleet.nodes):
            link = None if a == b else fleet.link(sender.name, receiver.name)
            if link is None:
                if a != b:
                    arrays["bandwidth"][a, b] = 1.0
                continue
            shared = fleet.media[link.medium] if link.medium else np.inf
            arrays["latency"][a, b] = link.latency
            arrays["bandwidth"][a, b] = min(link.bandwidth, shared)
            arrays["medium"][a, b] = media.index(link.medium) if link.medium else -1
            send = link.send or profiles[a].send
            receive = link.receive or profiles[b].receive
            arrays["send_fixed"][a, b] = send.fixed / speed[a]
            arrays["send_per_byte"][a, b] = send.per_byte / speed[a]
            arrays["receive_fixed"][a, b] = receive.fixed / speed[b]
            arrays["receive_per_byte"][a, b] = receive.per_byte / speed[b]
    return arrays


def _shared(fleet: Fleet) -> dict[str, Any]:
    hosts = list(fleet.hosts)
    return {
        "media": tuple(fleet.media),
        "media_bandwidth": np.array(list(fleet.media.values()), float),
        "hosts": tuple(hosts),
        "host_cores": np.array(list(fleet.hosts.values()), np.int64),
        "host": np.array([hosts.index(node.host) if node.host else -1 for node in fleet.nodes]),
    }
