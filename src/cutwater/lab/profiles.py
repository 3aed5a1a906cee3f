"""Profiles kept between commands: measured once per model, device and options, and read from the cache afterwards."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cutwater.cut.cut import Cut
from cutwater.errors import BadFile
from cutwater.graph.graph import Graph
from cutwater.lab.hops import HopCosts, known_hops
from cutwater.lab.machine import measure_machine
from cutwater.lab.measure import Progress, measure_profile
from cutwater.lab.timing import Feeds, MeasureOptions
from cutwater.profile.files import load_profile, save_profile
from cutwater.profile.profile import Profile

INPUT = "0"
"""The cut before everything, as a `BorderSample` names it."""


def profile_for(
    graph: Graph,
    requests: Sequence[Feeds],
    folder: Path,
    cuts: Sequence[Cut] | None = None,
    codecs: Sequence[str] = (),
    options: MeasureOptions = MeasureOptions(),  # noqa: B008
    progress: Progress = lambda what, share: None,
) -> Profile:
    """The cached profile of a model on this machine; measured now where there is none that holds here.

    A cached profile holds if it is of the same model, device, versions, threads and batch, and knows all ``codecs``.
    Arguments are those of `measure_profile`; ``folder`` is where profiles are kept.
    """
    path = folder / f"{graph.name}-{graph.hash[:12]}-t{options.threads}-b{options.batch}.profile.yaml"
    found = _cached(path, graph, codecs, options)
    if found is not None:
        return found
    profile = with_hops(measure_profile(graph, requests, cuts, codecs, options, progress), known_hops(folder))
    folder.mkdir(parents=True, exist_ok=True)
    save_profile(profile, path)
    return profile


def with_hops(profile: Profile, costs: HopCosts) -> Profile:
    """The profile with the costs of a hop between two workers of its machine."""
    return msgspec.structs.replace(
        profile, send=costs.send, receive=costs.receive, entrance=costs.entrance, local=costs.local
    )


def _cached(path: Path, graph: Graph, codecs: Sequence[str], options: MeasureOptions) -> Profile | None:
    if not path.exists():
        return None
    try:
        profile = load_profile(path)
    except BadFile:
        return None  # of an older form: measured again, and overwritten
    here = measure_machine(options)
    same = (
        profile.model_hash == graph.hash
        and profile.conditions.device == here.device
        and profile.conditions.versions == here.versions
        and profile.local is not None
        and profile.entrance is not None  # older ones charged the ends of frames twice
        and set(codecs) <= {sample.codec for sample in profile.borders if sample.cut == INPUT}
    )
    return profile if same else None
