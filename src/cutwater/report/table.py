"""Tables in the house style."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table


def table(title: str, *headers: str) -> Table:
    """An empty table in the house style: the first column is text, the others are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for index, header in enumerate(headers):
        made.add_column(header, justify="right" if index else "left", overflow="fold")
    return made


def filled(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table with these rows."""
    made = table(title, *headers)
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made
