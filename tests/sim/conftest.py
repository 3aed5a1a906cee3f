"""The option ``--seed``: run one seed of the simulated trials, the one that a failure has named."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="Run only this seed of the simulated trials.")
