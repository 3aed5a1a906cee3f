"""Commands in the tests' own process, for those that start no other: it saves them a second each."""

import logging
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from cutwater.cli.app import main


def typed(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the console script makes of these words, with more in its environment."""
    command = ["cutwater", *map(str, words)]
    out, err = StringIO(), StringIO()
    asyncio = logging.getLogger("asyncio")
    level = asyncio.level
    with pytest.MonkeyPatch.context() as here, redirect_stdout(out), redirect_stderr(err):
        here.setattr(sys, "argv", command)
        for name, value in environment.items():
            here.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    asyncio.setLevel(level)  # a command sets it for good
    assert isinstance(ended.value.code, int)
    return subprocess.CompletedProcess(command, ended.value.code, out.getvalue(), err.getvalue())
