"""A headless Chromium, wherever this machine has one; and installed where it has none and may."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Its path. Raises FileNotFoundError saying what to install."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
            subprocess.run(["apt-get", "-q", *command], check=True, stdout=subprocess.DEVNULL, timeout=600)
        found = shutil.which("chromium")
    if found is None:
        raise FileNotFoundError(f"no browser is installed: install Chromium, or have one of {', '.join(NAMES)} on PATH")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """One to open pages in."""
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        try:
            yield opened
        finally:
            opened.close()
