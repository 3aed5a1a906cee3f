"""Handover: settings as one process gives them to another that it starts, in a file that only their owner can read."""

import os
from pathlib import Path
from typing import Any

import msgspec

from cutwater.errors import BadSetting
from cutwater.settings.settings import Settings


def write_handover(path: Path, settings: Settings) -> None:
    """Write all settings to ``path``; whoever reads it sees the old file or the new one, never half of one."""
    data = msgspec.json.format(msgspec.json.encode(settings, enc_hook=str), indent=2)
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)


def read_handover(path: Path) -> Settings:
    """The settings in ``path``. Raises BadSetting where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settings, dec_hook=_path)
    except OSError as error:
        raise BadSetting(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise BadSetting(f"{path}: is no handover of settings of this version: {error}") from error


def _path(wanted: type, value: Any) -> Any:
    return wanted(value)
