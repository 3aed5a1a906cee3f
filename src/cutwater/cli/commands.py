"""The table of commands, each loaded when it is needed: whoever asks for the status does not wait for a planner."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "model": "cutwater.cli.model:app",
    "profile": "cutwater.cli.profile:profile",
    "plan": "cutwater.cli.plan:plan",
    "run": "cutwater.cli.run:run",
    "demo": "cutwater.cli.demo:demo",
    "export": "cutwater.cli.export:export",
    "up": "cutwater.cli.up:up",
    "down": "cutwater.cli.down:down",
    "status": "cutwater.cli.status:status",
    "logs": "cutwater.cli.logs:logs",
    "deploy": "cutwater.cli.deploy:deploy",
    "undeploy": "cutwater.cli.deploy:undeploy",
    "infer": "cutwater.cli.infer:infer",
    "node": "cutwater.cli.node:app",
    "config": "cutwater.cli.config:app",
    "drill": "cutwater.cli.drill:drill",
    "soak": "cutwater.cli.soak:soak",
    "workload": "cutwater.cli.workload:app",
    "load": "cutwater.cli.load:load",
    "simulate": "cutwater.cli.simulate:simulate",
    "study": "cutwater.cli.study:study",
    "replay": "cutwater.cli.replay:replay_trace",
    "story": "cutwater.cli.story:story",
}
"""Name -> where a function, or a `typer.Typer` with commands of its own, is defined; in the order of the help."""


class _Loaded(Mapping[str, Any]):
    """The commands; looking one up imports its module."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            found.command(name)(function)
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group whose commands are imported one by one, when they are asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loaded()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help; nothing is imported."""
        return list(COMMANDS)
