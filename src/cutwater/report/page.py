"""A report as one HTML file: headings, key figures, pictures and tables; nothing is loaded from elsewhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources

_STYLE = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
_SHORT = 24
"""Letters of a cell that stay on one line."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture inside a table cell."""

    jpeg: bytes
    name: str


@dataclass
class Page:
    """A page under construction; `render` gives the document."""

    title: str
    subtitle: str = ""
    _parts: list[str] = field(default_factory=list)

    def figures(self, figures: Sequence[tuple[str, str, str]]) -> None:
        """Key figures as cards: (value, what it is, a note or "")."""
        cards = "".join(
            f'<div class="figure"><b>{escape(value)}</b>{escape(what)}<br><span>{escape(note)}</span></div>'
            for value, what, note in figures
        )
        self._parts.append(f'<div class="figures">{cards}</div>')

    def heading(self, text: str, explanation: str = "") -> None:
        """The start of a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")
        if explanation:
            self.paragraph(explanation)

    def paragraph(self, text: str) -> None:
        """Plain text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def picture(self, svg: str) -> None:
        """An SVG document, inlined."""
        self._parts.append(f'<div class="picture">{svg}</div>')

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; numbers align right, booleans become marks, `Thumbnail`s pictures."""
        head = "".join(f"<th>{escape(header)}</th>" for header in headers)
        body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        self._parts.append(f'<div class="scroll">{table}</div>')

    def render(self) -> str:
        """The document, as UTF-8 text."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            f"<h1>{escape(self.title)}</h1><p>{escape(self.subtitle)}</p>{''.join(self._parts)}</body></html>\n"
        )


def _cell(value: object) -> str:
    match value:
        case bool():
            return '<td class="yes">yes</td>' if value else '<td class="no">no</td>'
        case int() | float():
            return f'<td class="number">{value:g}</td>'
        case Thumbnail(jpeg, name):
            data = base64.b64encode(jpeg).decode()
            return f'<td><img alt="{escape(name)}" src="data:image/jpeg;base64,{data}"></td>'
        case _:
            kind = ' class="short"' if len(str(value)) <= _SHORT else ""
            return f"<td{kind}>{escape(str(value))}</td>"
