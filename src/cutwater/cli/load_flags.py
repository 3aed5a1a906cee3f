"""What the flags of `cutwater load` mean: texts into the options of a load."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cutwater.errors import BadQuantity, BadSetting, BadShape
from cutwater.lab.load.mlperf import MlperfOptions, Scenario
from cutwater.lab.load.search import SearchOptions
from cutwater.lab.load.work import CV, MOST_CV, RATE, Work, at_rate, from_file, longest, models_of
from cutwater.units import Seconds, format_seconds, parse_rate, parse_seconds
from cutwater.workload.arrivals import Gamma
from cutwater.workload.curve import mean_rate
from cutwater.workload.workload import Workload

USUAL: Seconds = 30.0
"""How long requests come at a rate, where nobody says."""
WARMUP: Seconds = 2.0
"""Not counted, where nobody says; at most a tenth of the load."""


def parse_work(file: Path | None, rate: str, models: Sequence[str], cv: float, duration: str, seed: int | None) -> Work:
    """What is to be sent: a file's, or a rate's.

    Raises:
        BadSetting: Both, or neither, or a flag that says nothing about the one that is given.
        BadFile: With line and field.
        BadQuantity: A number that makes no sense.
    """
    length = longest(parse_seconds(duration), f"--for {duration}") if duration else None
    if (file is None) == (not rate):
        raise BadSetting("give either a workload's file or --rate, such as --rate 200/s --model NAME")
    if file is None:
        return at_rate(models, parse_rate(rate), cv, length or USUAL, seed or 0)
    if models or cv != 1.0:
        raise BadSetting("--model and --cv belong to --rate; a workload's file says whom to ask, and how")
    return from_file(file, length, seed)


def parse_warmup(text: str, duration: Seconds) -> Seconds:
    """How much at the beginning is not counted. Raises BadQuantity."""
    seconds = parse_seconds(text) if text else min(WARMUP, duration / 10)
    if not 0 <= seconds < duration:
        raise BadQuantity(f"--warmup {text}: must be shorter than the load, which is {format_seconds(duration)}")
    return seconds


def parse_slos(texts: Sequence[str]) -> dict[str, Seconds]:
    """``["100 ms", "bert=1 s"]`` -> {"": 0.1, "bert": 1.0}. Raises BadQuantity."""
    found = {}
    for model, text in _named(texts):
        try:
            found[model] = longest(parse_seconds(text), f"--slo {text}")
        except BadQuantity as error:
            raise BadQuantity(f"--slo: {error}") from None
    return found


def parse_inputs(texts: Sequence[str]) -> dict[str, Path]:
    """``["photos", "bert=words.npz"]`` -> {"": photos, "bert": words.npz}."""
    return {model: Path(text) for model, text in _named(texts)}


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``["images=1,3,640,640"]`` -> {"images": (1, 3, 640, 640)}. Raises BadShape."""
    found = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        numbers = sizes.split(",")
        if not name or not all(number.strip().isdecimal() for number in numbers):
            raise BadShape(f"--shape {text}: write it as INPUT=1,3,224,224")
        found[name] = tuple(map(int, numbers))
    return found


def parse_share(text: str, flag: str) -> float:
    """``"99%"`` or ``"0.99"`` -> 0.99. Raises BadQuantity."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise BadQuantity(f"{flag} {text}: give a share between 0 and 100 %, such as 99%")
    return value


def parse_mlperf(
    scenario: Scenario, duration: str, rate: str, slos: Mapping[str, Seconds], seed: int | None, timeout: Seconds
) -> MlperfOptions:
    """What LoadGen shall do. Raises BadQuantity."""
    return MlperfOptions(
        scenario=scenario,
        duration=longest(parse_seconds(duration), f"--for {duration}") if duration else USUAL,
        rate=parse_rate(rate) if rate else 0.0,
        slo=slos.get("", 0.0),
        seed=seed or 0,
        timeout=timeout,
    )


def parse_search(
    work: Work, slos: dict[str, Seconds], rate: str, cv: str, width: str, repeats: int, warmup: Seconds
) -> tuple[str, SearchOptions]:
    """What is searched for, the highest ``rate`` or ``cv`` with so many in time, and how.

    Raises:
        BadSetting: No SLO is known for some model.
        BadQuantity: A number that makes no sense.
    """
    flag = "--find-rate" if rate else "--find-cv"
    check_slos(work, slos, flag)
    options = SearchOptions(
        target=parse_share(rate or cv, flag),
        width=parse_share(width, "--width"),
        repeats=repeats,
        warmup=warmup,
        most=MOST_CV / own_value(work, CV) if cv else float("inf"),
    )
    return RATE if rate else CV, options


def own_value(work: Work, what: str) -> float:
    """What a search scales, at the factor 1: requests per second of all models, or the CV of a plain workload's gaps.

    Where models differ in their CV, 1: factors are shown as they are.
    """
    if what == RATE:
        if not isinstance(work, Workload):
            return work.requests / work.duration
        arrivals = [demand.arrivals for demand in work.models.values() if demand.arrivals is not None]
        arrivals += [mix.arrivals for mix in work.mixes.values()]
        return sum(mean_rate(each, work.duration) for each in arrivals)
    assert what == CV
    if not isinstance(work, Workload):
        return 1.0
    every = [demand.arrivals for demand in work.models.values()] + [mix.arrivals for mix in work.mixes.values()]
    cvs = {each.cv if isinstance(each, Gamma) else 1.0 for each in every if each is not None}
    return cvs.pop() if len(cvs) == 1 else 1.0


def only_model(models: Sequence[str]) -> str:
    """LoadGen's. Raises BadSetting where there is not exactly one."""
    if len(models) != 1:
        raise BadSetting(f"--mlperf asks one model, not {len(models)}: give --model NAME once")
    return models[0]


def check_slos(work: Work, slos: dict[str, Seconds], flag: str) -> None:
    """A search needs an SLO for each model. Raises BadSetting."""
    without = [model for model in models_of(work) if model not in slos]
    if without:
        raise BadSetting(
            f"{flag}: no SLO is known for {', '.join(without)}; give --slo 100ms, or 'slo' in the workload"
        )


def _named(texts: Sequence[str]) -> list[tuple[str, str]]:
    """``"bert=1 s"`` -> ("bert", "1 s"); without a name, ("", "1 s")."""
    pairs = []
    for text in texts:
        name, _, value = text.rpartition("=")
        pairs.append((name.strip(), value.strip()))
    return pairs
