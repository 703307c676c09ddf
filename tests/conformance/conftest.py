"""Fixtures of the conformance suites: one client of each adapter in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.store_worlds import WORLDS, World, connected
from timeball_server.ports.store import Store


@pytest.fixture(params=sorted(WORLDS))
def store_world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """An empty database."""
    return WORLDS[request.param](tmp_path)


@pytest_asyncio.fixture
async def store_client(store_world: World) -> AsyncIterator[Store]:
    """A client of it."""
    async with connected(store_world) as store:
        yield store
