"""Writes docs/settings.md: every setting with its default and meaning; ``python -m cutwater.settings.table``."""

import sys

from cutwater.settings.fields import Field, fields, sections
from cutwater.settings.resolve import CONFIG, FILE_NAMES

_HEAD = f"""# Settings

Everything about a cluster can be set in one file, in the environment, or by a flag; a flag goes before the environment,
the environment before the file, the file before the default. `cutwater config show` prints what is set, and by whom.

Until `cutwater down`, all commands go on counting the flags that `cutwater up` was given, before the environment, and
its `--config`. A command that has `--config` itself begins anew, with its own flags only. A process keeps what it was
started with: `cutwater up --gateway-drills on` changes nothing for a gateway that runs, so `cutwater down` comes first.

The file is YAML or TOML: the one that `--config` or `${CONFIG}` names, or else, in the cluster's home,
`{FILE_NAMES[0]}`, `{FILE_NAMES[1]}` or `{FILE_NAMES[2]}`.
What is set in the section `node` as `memory` is `CUTWATER_NODE_MEMORY` in the environment, and `--node-memory` after
`cutwater up`, where the section `cluster` needs no prefix: `cutwater up --nodes 5`. What is no setting is an error, in
the file and among the variables that begin with `CUTWATER_`. `CUTWATER_CACHE`, where models and packages are kept, is
none of the settings, and no error.

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
