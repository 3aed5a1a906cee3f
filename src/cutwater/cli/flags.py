"""Turns settings into the flags of a command, with the help and the kind of value that their declaration gives."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from cutwater.errors import BadQuantity, BadSetting
from cutwater.services.home import Home, Wishes
from cutwater.settings.fields import Field, fields
from cutwater.settings.file import Given
from cutwater.settings.resolve import Resolved, resolve

_CONFIG = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file, YAML or TOML.", metavar="FILE", rich_help_panel="Settings"),
]


def with_settings(own: str = "", *others: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, whose parameter ``resolved`` receives them, the flags of some sections of the settings.

    Args:
        own: The section whose settings are flags without the section's name: ``--nodes`` for ``cluster.nodes``.
        others: Sections whose settings are flags with it: ``--node-memory`` for ``node.memory``.
    """
    sections = ("", own, *others)
    chosen = {_flag(field, own): field for field in fields().values() if field.section in sections}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_flags(config: Path | None = None, **arguments: Any) -> None:
            texts = {field.path: arguments.pop(_parameter(flag)) for flag, field in chosen.items()}
            given = {path: text for path, text in texts.items() if text is not None}
            resolved, wishes = _resolve(given, {field.path: flag for flag, field in chosen.items()}, config)
            if "wishes" in inspect.signature(command).parameters:
                arguments["wishes"] = wishes
            command(resolved=resolved, **arguments)

        _declare(with_flags, command, chosen.items())
        return with_flags

    return decorate


def _flag(field: Field, own: str) -> str:
    path = field.name if field.section == own else field.path
    return "--" + path.replace(".", "-").replace("_", "-")


def _parameter(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _declare(wrapper: Callable[..., None], command: Callable[..., None], flags: Iterable[tuple[str, Field]]) -> None:
    """Say what the wrapper takes: what the command does, less what it gets from here, and the flags."""
    kept = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name not in ("resolved", "wishes")
    ]
    made = [_option("config", _CONFIG), *(_option(_parameter(flag), _typed(flag, field)) for flag, field in flags)]
    kept = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in kept]
    signature = inspect.Signature([*kept, *made])
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    del wrapper.__wrapped__  # type: ignore[attr-defined]


def _option(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _typed(flag: str, field: Field) -> Any:
    default = field.write(field.default)
    text = field.doc + (f" (default: {default})" if default else "")
    panel = f"Settings: {field.section}" if field.section else "Settings"
    metavar = field.kind.name.upper().replace(" ", "-")
    return Annotated[str | None, typer.Option(flag, help=text, metavar=metavar, rich_help_panel=panel)]


def _resolve(texts: dict[str, str], flags: dict[str, str], config: Path | None) -> tuple[Resolved, Wishes]:
    """The settings, and what to remember: a cluster that runs keeps what `up` was told, until it is told otherwise.

    Raises BadSetting.
    """
    given = {path: _given(path, text, f"flag {flags[path]}") for path, text in texts.items()}
    resolved = resolve(given, config=config)
    told = Home(resolved.home).wishes() if config is None else None
    if told is None:
        file = str(config.absolute()) if config is not None else ""
        return resolved, Wishes(flags=_without_home(texts), config=file)
    before = {path: _given(path, text, "flag of the last `cutwater up`") for path, text in told.flags.items()}
    resolved = resolve({**before, **given}, config=Path(told.config) if told.config else None)
    return resolved, Wishes(flags={**told.flags, **_without_home(texts)}, config=told.config)


def _without_home(texts: dict[str, str]) -> dict[str, str]:
    return {path: text for path, text in texts.items() if path != "home"}


def _given(path: str, text: str, origin: str) -> Given:
    try:
        return Given(fields()[path].read(text), origin)
    except BadQuantity as error:
        raise BadSetting(f"{origin}: {error}") from error
