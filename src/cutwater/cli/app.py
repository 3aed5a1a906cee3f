"""The command `cutwater`: turns every typed error into one clear line and an exit code."""

import json
import logging
import signal
import sys
from types import FrameType

import typer
from rich.markup import escape

import cutwater
from cutwater.cli.commands import LazyGroup
from cutwater.cli.console import messages
from cutwater.errors import CutwaterError

app = typer.Typer(
    cls=LazyGroup,
    help="Cut a neural network at the best places and run it across the machines you have.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cutwater {cutwater.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _end(_: int, frame: FrameType | None) -> None:
    """Whatever Ctrl-C cleans up, SIGTERM does: so ends who runs this in a container, or in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Entry point of the console script."""
    # The client library's streams do not know that they run over TLS, which asyncio remarks at each end.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except CutwaterError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": {"kind": error.kind, "message": str(error)}}))
        messages.print(f"[bold red]{error.kind}[/]: {escape(str(error))}", highlight=False)
        sys.exit(error.exit_code)
