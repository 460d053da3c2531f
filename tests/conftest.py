"""What every suite may use: one local AWS for the whole run, started at its first use."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from headsaw.demo.emulator import Emulator, Endpoint


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def emulator() -> AsyncIterator[Endpoint]:
    """A local AWS that answers until the run ends. Tests share it: give everything a name of its own."""
    async with Emulator().start() as endpoint:
        yield endpoint


@pytest.fixture
def emulator_environment(emulator: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """AWS clients made in this process speak to the emulator, and to nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    return emulator
