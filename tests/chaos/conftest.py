"""The cluster on which faults are played."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chaos.arena import Arena, Needs, arena
from tests.support.chaos.rounds import Place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One cluster at a time, of the kind that a fault needs, whole again before each of them."""
    folder: Path = tmp_path_factory.mktemp("chaos")
    with contextlib.ExitStack() as stack:
        running: dict[Needs, Arena] = {}

        def needed(needs: Needs) -> Arena:
            if needs not in running:
                running.clear()
                stack.close()
                number = len(list(folder.iterdir()))
                running[needs] = stack.enter_context(arena(folder / f"cluster-{number}", needs))
            return running[needs]

        yield needed
