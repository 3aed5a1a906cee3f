"""Writes docs/settings.md: every setting with its default and meaning; ``python -m cutwater.settings.table``."""

import sys

from cutwater.settings.fields import Field, fields, sections
from cutwater.settings.resolve import CONFIG, FILE_NAMES

_HEAD = f"""# Settings

Everything about a cluster can be set by a flag, in the environment, or in one file; the first of these that says
something counts. `cutwater config show` prints each value and where it came from.

`memory` in the section `node` is `CUTWATER_NODE_MEMORY` in the environment and `--node-memory` on the command line.
`up`, `drill` and `soak` leave out the prefix `cluster` (`cutwater up --nodes 5`), `node join` the prefix `node`
(`--listen`). An unknown key is an error, and so is an unknown variable that begins with `CUTWATER_`, other than
`CUTWATER_CACHE`, where models and packages are kept.

The file is YAML or TOML: the one that `--config` or `${CONFIG}` names, or else, in the cluster's home,
`{FILE_NAMES[0]}`, `{FILE_NAMES[1]}` or `{FILE_NAMES[2]}`.

Until `cutwater down`, every command that takes `--config` also counts the flags and the `--config` of the last
`cutwater up`, before the environment; one that is given `--config` itself begins anew. `cutwater load` and the Python
client read only the environment and the file: set a token there, or pass it. A process keeps what it was started with:
`cutwater up --gateway-drills on` changes nothing for a gateway that runs, so `cutwater down` comes first.

```yaml
cluster:
  nodes: 5
node:
  memory: 2 GiB
```

Sizes are written like `512 MiB`, durations like `1.5 s`, shares like `20 %`.

This page is made by `make docs` from the declarations in `src/cutwater/settings/settings.py`.
"""


_HEADERS = "| setting | kind | default | meaning |\n| --- | --- | --- | --- |\n"


def settings_page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    by_section: dict[str, list[Field]] = {}
    for field in fields().values():
        by_section.setdefault(field.section, []).append(field)
    for section, members in by_section.items():
        title = sections()[section].__doc__ if section else "What belongs to no section."
        parts.append(f"\n## {section or 'Top'}\n\n{title}\n\n{_HEADERS}")
        parts += [_row(field) for field in members]
    return "".join(parts)


def _row(field: Field) -> str:
    default = f"`{field.write(field.default)}`" if field.write(field.default) else ""
    meaning = " ".join(field.doc.split()).replace("|", "\\|")
    return f"| `{field.path}` | {field.kind.name} | {default} | {meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
