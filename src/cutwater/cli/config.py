"""`cutwater config`: what is set, and by whom."""

import typer
from rich.markup import escape

from cutwater.cli.console import print_json, results
from cutwater.cli.flags import with_settings
from cutwater.cli.options import Json
from cutwater.report.table import table
from cutwater.settings.fields import Field, fields
from cutwater.settings.resolve import Resolved

app = typer.Typer(help="Settings: files, environment, flags.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
@with_settings()
def show(resolved: Resolved, json: Json = False) -> None:
    """Print every setting, its value, and where that comes from: a flag, the environment, a file, or the default."""
    if json:
        print_json({path: _facts(resolved, field) for path, field in fields().items()})
        return
    made = table("", "setting", "value", "from")
    for column in made.columns:
        column.justify = "left"
    for path, field in fields().items():
        origin = resolved.origins.get(path)
        style = "bold" if origin else "dim"
        value = field.write(resolved.value(path)) or "-"
        made.add_row(f"[{style}]{path}[/]", escape(value), escape(origin or "default"))
    results.print(made)


def _facts(resolved: Resolved, field: Field) -> dict[str, str | None]:
    value = field.write(resolved.value(field.path))
    return {"value": value or None, "from": resolved.origins.get(field.path, "default")}
