"""A disk that is full: what cannot be kept is not promised, and what was promised happens.

`timeball dev` in a mount namespace of its own, its file on a small memory disk that a ballast file
fills and empties. Where the system gives out no such namespace this test fails and says so.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
import timeball
from timeball.states import TaskState, state_of

from tests.support import dev_tasks
from tests.support.dev_server import ROOT, environment
from tests.support.polls import eventually, until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]
SIZE_MIB: Final = 6
ALONE: Final = ("unshare", "--map-root-user", "--mount", "--", "sh", "-c")
MOUNTED: Final = f'mount -t tmpfs -o size={SIZE_MIB}m none "$0" && exec "$@"'
PATIENCE: Final = timedelta(seconds=3)
BLOCK: Final = b"x" * 4_096


class SmallDisk:
    """A server whose data lie on a disk of their own; `inside` is how we reach that disk."""

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._disk.mkdir()
        self._ready = folder / "ready"
        self.log = folder / "dev.log"
        command = [sys.executable, "-m", "timeball.cli", "dev", str(Path(dev_tasks.__file__))]
        command += ["--listen", "127.0.0.1:0", "--no-http", "--data", str(self._disk / "dev.db")]
        command += ["--ready-file", str(self._ready)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*ALONE, MOUNTED, str(self._disk), *command],
                cwd=ROOT,
                env=environment(**{dev_tasks.OUT_VARIABLE: str(folder)}),
                stdout=log,
                stderr=log,
            )

    def address(self) -> str:
        until(lambda: self._ready.exists() or self._process.poll() is not None, "dev is ready")
        assert self._ready.exists(), f"no namespace, or no server: {self.log.read_text()}"
        return self._ready.read_text().strip()

    @property
    def _ballast(self) -> Path:
        inside = Path(f"/proc/{self._process.pid}/root")
        return inside / str(self._disk).lstrip("/") / "ballast"

    def fill(self) -> None:
        """Take all that is left of the disk."""
        with self._ballast.open("ab", buffering=0) as ballast:

            def fill_up() -> None:
                while True:
                    ballast.write(BLOCK)

            with pytest.raises(OSError, match="No space"):
                fill_up()

    def empty(self) -> None:
        """Give it back."""
        self._ballast.unlink()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.end()


async def test_a_full_disk_refuses_and_an_emptied_one_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        async with timeball.AsyncClient(disk.address()) as client:
            promised = [await client.submit(dev_tasks.echo.prepare("before"))]
            promised.append(
                await client.submit(dev_tasks.echo.options(delay="2s").prepare("later"))
            )
        async with timeball.AsyncClient(disk.address(), deadline=PATIENCE) as client:
            disk.fill()

            async def refused() -> bool:
                """Pages that the file has left are used up first."""
                try:
                    task = dev_tasks.echo.prepare("x" * 20_000)
                    promised.append(await client.submit(task))
                except timeball.TimeballError as error:
                    return error.retryable
                return False

            await eventually(refused, "a promise that cannot be kept is refused", 60.0)
            disk.empty()

            async def accepted() -> bool:
                try:
                    promised.append(await client.submit(dev_tasks.echo.prepare("after")))
                except timeball.TimeballError:
                    return False
                return True

            await eventually(accepted, "an emptied disk takes promises again", 60.0)
        async with timeball.AsyncClient(disk.address()) as client:
            ended = [await client.wait(each.id, timeout="30s") for each in promised]
            assert {state_of(each.state) for each in ended} == {TaskState.SUCCEEDED}
