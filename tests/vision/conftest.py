"""Where tests find downloaded packages: one cache for all of them."""

from pathlib import Path

import pytest

from cutwater.zoo.packages import default_cache


@pytest.fixture(scope="session")
def package_cache() -> Path:
    """Packages are fetched for real, once, and kept for the next run."""
    return default_cache()
