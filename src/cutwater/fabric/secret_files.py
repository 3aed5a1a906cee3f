"""Files that only their owner can read."""

import os
from pathlib import Path


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read; whoever reads it sees the old one or the new one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
