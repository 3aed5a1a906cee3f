"""The page at /docs: all routes for people who read, from one document, with nothing loaded from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

_STYLE = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def docs_page(document: Mapping[str, Any], examples: Mapping[str, str]) -> str:
    """HTML of an OpenAPI document; ``examples``: operation's id -> how to ask from a shell."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, told in operations.items():
            entry = _operation(method.upper(), path, told, examples.get(told["operationId"], ""))
            by_tag.setdefault(told["tags"][0], []).append(entry)
    listed = "".join(f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(found)}' for tag, found in by_tag.items())
    schemas = "".join(_schema(name, told) for name, told in sorted(document["components"]["schemas"].items()))
    links = " · ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in (*by_tag, "Schemas"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])}</p>"
        f'<nav>{links} · <a href="openapi.json">openapi.json</a></nav>'
        f'{listed}<h2 id="Schemas">Schemas</h2>{schemas}</main></body></html>\n'
    )


def _operation(method: str, path: str, told: Mapping[str, Any], example: str) -> str:
    parts = [f"<p>{escape(told['description'])}</p>"] if "description" in told else []
    if example:
        parts.append(f"<pre>{escape(example)}</pre>")
    if told["parameters"]:
        rows = [(each["name"], each["in"], each.get("description", "")) for each in told["parameters"]]
        parts.append(_table(("Parameter", "In", ""), rows))
    if "requestBody" in told:
        parts.append(f"<h3>Takes</h3>{_media(told['requestBody']['content'])}")
    rows = []
    for status, answer in told["responses"].items():
        kinds = ", ".join(f"{media}: {_kind(each['schema'])}" for media, each in answer.get("content", {}).items())
        rows.append((status, answer["description"], kinds))
    parts.append(f"<h3>Answers</h3>{_table(('Status', '', ''), rows)}")
    return (
        f'<details><summary><b class="{method.lower()}">{method}</b> <code>{escape(path)}</code> '
        f"<span>{escape(told['summary'])}</span></summary>{''.join(parts)}</details>"
    )


def _media(content: Mapping[str, Any]) -> str:
    return _table(("Media type", ""), [(media, _kind(each["schema"])) for media, each in content.items()])


def _schema(name: str, told: Mapping[str, Any]) -> str:
    rows = [(field, _kind(kind), kind.get("description", "")) for field, kind in told.get("properties", {}).items()]
    about = f"<p>{escape(told.get('description', ''))}</p>"
    return f"<details><summary><code>{escape(name)}</code></summary>{about}{_table(('Field', '', ''), rows)}</details>"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "bytes"
    if "enum" in schema:
        return " or ".join(json.dumps(each) for each in schema["enum"])
    return str(schema.get("type", "anything"))


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
