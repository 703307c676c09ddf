"""What most tests of a running `timeball dev` begin with: one server a module, a client a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import timeball

from tests.support.dev_server import DevServer, dev_server


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with dev_server(tmp_path_factory.mktemp("dev")) as server:
        yield server


@pytest_asyncio.fixture
async def client(dev: DevServer) -> AsyncIterator[timeball.AsyncClient]:
    """Also the client that tasks of the SDK use by themselves."""
    async with timeball.AsyncClient(dev.address) as made:
        timeball.use(made)
        yield made
