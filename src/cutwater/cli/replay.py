"""`cutwater replay`: makes the machines of a recorded trace again, and sees whether they decide the same."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cutwater.cli.console import print_json, results
from cutwater.cli.options import Json
from cutwater.drivers.tracefile import read_trace
from cutwater.engine.replay import Difference, replay


def replay_trace(
    trace: Annotated[Path, typer.Argument(help="A trace file; of one that was parted, the newer half.")],
    json: Json = False,
) -> None:
    """Tell the machines of a trace again what they were told, and compare what they ask for with what they asked for.

    Ends with 1 at the first difference.
    """
    found = replay(read_trace(trace))
    difference = found.difference
    if json:
        said = {"steps": found.steps, "machines": found.machines}
        print_json({**said, "difference": None if difference is None else msgspec.to_builtins(difference)})
    elif difference is None:
        results.print(f"{found.steps} steps of {found.machines} machines, same commands")
    else:
        _tell(difference)
    if difference is not None:
        raise typer.Exit(1)


def _tell(difference: Difference) -> None:
    step = difference.step
    for line in (
        f"step {difference.number}, {step.who} at {step.now:.6f}: other commands",
        f"  told      {step.event}",
        f"  recorded  {step.commands}",
        f"  now       {difference.got}",
    ):
        results.print(line, markup=False, highlight=False, soft_wrap=True)
