"""What keeps a session: opening, proving, rechecking, the watchdog, and closing.

Owns the session's background tasks and threads. Never decides about members or shards.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from kazoo.exceptions import NodeExistsError
from timeball.errors import CoordinationUnavailable, TimeballError, Unauthenticated

from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.layout import Layout
from timeball_server.coordination.zookeeper.link import Link
from timeball_server.coordination.zookeeper.mirror import Mirror
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.watchdog import Watchdog
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import SessionState

PROOFS_PER_TIMEOUT: Final = 6
SILENCES_PER_TIMEOUT: Final = 3
"""A proof that takes longer than this part of the session timeout breaks the connection."""
STALLED: Final = "its event loop stood still for too long and the watchdog closed it"
_logger = logging.getLogger(__name__)


class Keeper:
    """Keeps one session alive and proven for as long as the process deserves it."""

    def __init__(
        self, options: ZooKeeperOptions, clock: Clock, link: Link, mirror: Mirror, layout: Layout
    ) -> None:
        self._options = options
        self._clock = clock
        self._link = link
        self._mirror = mirror
        self._layout = layout
        self._first_answer = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._watchdog: Watchdog | None = None

    async def open(self) -> None:
        """Connect, make what is missing, arm the watches, and begin to prove.

        Raises:
            CoordinationUnavailable, Unauthenticated, PermissionDenied: see `open_session`.
        """
        try:
            await self._connect()
            await self._make_skeleton()
            await self._mirror.arm()
            await self.prove("open")
        except BaseException as error:
            await self._link.close("it could not be opened")
            if self._link.client.is_refused:
                raise Unauthenticated(
                    f"ZooKeeper at {self._options.hosts} refused this process's credentials"
                ) from error
            raise
        self._start()

    async def prove(self, name: str) -> None:
        """A round trip to the ensemble's leader."""
        await self._link.ask(name, requests.sync(self._layout.root))

    async def close(self, why: str) -> None:
        """End everything. Safe to repeat."""
        if self._watchdog is not None:
            self._watchdog.stop()
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await self._link.close(why)
        await asyncio.gather(*others, return_exceptions=True)

    def take_state(self, state: SessionState) -> None:
        """The state changed: reread after a reconnection, stop after the end."""
        _logger.info("zookeeper session %x is %s", self._link.session_id, state)
        self._first_answer.set()
        if state is SessionState.LOST and self._watchdog is not None:
            self._watchdog.stop()
        if state is SessionState.CONNECTED:
            self._mirror.lose_all()

    async def _connect(self) -> None:
        """Wait until the first connection stands."""
        self._link.start()
        try:
            async with asyncio.timeout(self._options.connect_within_ms / 1_000):
                await self._first_answer.wait()
        except TimeoutError as error:
            raise CoordinationUnavailable(
                f"ZooKeeper at {self._options.hosts} does not answer; is it running, and is the "
                "address right?"
            ) from error

    async def _make_skeleton(self) -> None:
        """Make the entries that all sessions share, where they are missing."""
        paths = self._layout.skeleton()
        stats = await asyncio.gather(*(self._look(path) for path in paths))
        for path in (path for path, is_there in zip(paths, stats, strict=True) if not is_there):
            await self._make(path)

    async def _look(self, path: str) -> bool:
        """Whether an entry is there; needs no right to it."""
        return await self._link.ask("open", requests.look(path)) is not None

    async def _make(self, path: str) -> None:
        """Make a lasting entry unless somebody just did."""
        try:
            request = requests.create(path, b"", self._link.acl, requests.PERSISTENT)
            await self._link.ask("open", request)
        except NodeExistsError:
            _logger.debug("another session made %s first", path)

    def _start(self) -> None:
        """Start what runs beside."""
        tasks = (self._keep_proven(), self._mirror.keep_fresh(), self._keep_rechecking())
        self._tasks = tuple(asyncio.create_task(task) for task in tasks)
        limit_ms = self._options.stall_limit_ms or self._link.session_timeout_ms
        self._watchdog = Watchdog(limit_ms, self._end_stalled)
        self._watchdog.start()

    async def _keep_proven(self) -> None:
        """Prove every sixth of the timeout until the session is over."""
        while self._link.state is not SessionState.LOST:
            if self._link.state is SessionState.CONNECTED:
                await self._prove_or_break()
            await self._clock.sleep_ms(self._link.session_timeout_ms / PROOFS_PER_TIMEOUT)
        await self._link.close(self._link.why_over)

    async def _prove_or_break(self) -> None:
        """Prove; no answer for a third of the timeout is no connection.

        Kazoo would not notice: each request puts off the ping whose silence it waits for.
        """
        proof = asyncio.create_task(self._prove_quietly())
        limit_s = self._link.session_timeout_ms / SILENCES_PER_TIMEOUT / 1_000
        _, late = await asyncio.wait((proof,), timeout=limit_s)
        if late:
            self._link.break_connection()
            await proof

    async def _prove_quietly(self) -> None:
        """Prove; a failure needs no report, because the session's state is the report."""
        try:
            await self.prove("prove")
        except TimeballError as error:
            _logger.debug("no proof: %s", error)

    async def _keep_rechecking(self) -> None:
        """Look for lost watches now and then."""
        while self._link.state is not SessionState.LOST:
            await self._clock.sleep_ms(self._options.recheck_ms)
            try:
                await self._mirror.recheck()
            except TimeballError as error:
                _logger.debug("no recheck: %s", error)

    def _end_stalled(self) -> None:
        """The loop stands still; on the watchdog's thread, which may wait."""
        self._link.why_over = STALLED
        _logger.error("zookeeper session %x is closed: %s", self._link.session_id, STALLED)
        self._link.end_now()
