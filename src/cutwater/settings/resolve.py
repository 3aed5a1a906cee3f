"""Brings settings together: a flag goes before the environment, that before the file, that before the default."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cutwater.errors import BadQuantity, BadSetting, did_you_mean
from cutwater.settings.fields import PREFIX, fields, sections
from cutwater.settings.file import Given, read_file
from cutwater.settings.settings import Settings

CONFIG = PREFIX + "CONFIG"
"""The variable that names the file."""
FILE_NAMES = ("settings.yaml", "settings.yml", "settings.toml")
"""What the file in a home is called."""
_OTHERS = frozenset({CONFIG, PREFIX + "CACHE", PREFIX + "LOG", PREFIX + "PROCESS"})
"""Variables that are no settings of a cluster."""


@dataclass(frozen=True)
class Resolved:
    """Settings, and where each comes from."""

    settings: Settings
    origins: Mapping[str, str]
    """Path -> ``"cluster.yaml:4"``, ``"environment ..."``, ``"flag ..."``; what is not here is a default."""
    file: Path | None
    """The file that was read."""

    @property
    def home(self) -> Path:
        """The cluster's folder, absolute."""
        return (self.settings.home or default_home()).absolute()

    def value(self, path: str) -> object:
        """``value("node.memory")``."""
        found: object = self.settings
        for part in path.split("."):
            found = getattr(found, part)
        return found


def default_home() -> Path:
    """Where the cluster lives that nobody gave another home."""
    return Path.home() / ".local" / "state" / "cutwater" / "default"


def resolve(
    flags: Mapping[str, Given] | None = None,
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Resolved:
    """All settings.

    Args:
        flags: What was given on the command line, by path.
        config: The settings file; None: the one $CUTWATER_CONFIG names, or the one in the home, or none.
        environment: None: the one of this process.

    Raises:
        BadSetting: Anything in a file or the environment that is no setting, or has a value it does not take.
    """
    environment = os.environ if environment is None else environment
    spoken = {**_from_environment(environment), **(flags or {})}
    file = config or _find_file(environment, spoken)
    given = {**(read_file(file) if file is not None else {}), **spoken}
    settings = _build({path: each.value for path, each in given.items()})
    return Resolved(settings, {path: each.origin for path, each in given.items()}, file)


def _find_file(environment: Mapping[str, str], spoken: Mapping[str, Given]) -> Path | None:
    if environment.get(CONFIG):
        return Path(environment[CONFIG]).expanduser()
    home = spoken["home"].value if "home" in spoken else default_home()
    assert isinstance(home, Path)
    return next((home / name for name in FILE_NAMES if (home / name).is_file()), None)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    by_variable = {field.variable: field for field in fields().values()}
    found: dict[str, Given] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in _OTHERS or not text:
            continue
        if variable not in by_variable:
            raise BadSetting(f"environment: there is no setting {variable}{did_you_mean(variable, by_variable)}")
        field = by_variable[variable]
        try:
            found[field.path] = Given(field.read(text), f"environment {variable}")
        except BadQuantity as error:
            raise BadSetting(f"environment: {variable}: {error}") from error
    return found


def _build(values: Mapping[str, object]) -> Settings:
    parts: dict[str, object] = {path: value for path, value in values.items() if "." not in path}
    for name, section in sections().items():
        prefix = name + "."
        inner = {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}
        parts[name] = section(**inner)
    return msgspec.structs.replace(Settings(), **parts)
