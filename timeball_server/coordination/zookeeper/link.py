"""One session's connection as the event loop sees it: requests, their proof, and their errors.

Owns the only crossing between the client's threads and the loop. Only requests that the
ensemble's leader had to see prove the session (R3): a follower that has lost its leader goes on
answering reads from memory for seconds, while the leader is already counting the silence.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
)
from kazoo.security import OPEN_ACL_UNSAFE
from timeball.errors import CoordinationUnavailable, PermissionDenied, TimeballError

from timeball_server.coordination.zookeeper.bridge import Bridge
from timeball_server.coordination.zookeeper.client import FailFastClient
from timeball_server.coordination.zookeeper.options import ZooKeeperOptions
from timeball_server.coordination.zookeeper.requests import is_through_leader
from timeball_server.ports.clock import Clock
from timeball_server.ports.coordination import SessionLost, SessionState

UNANSWERED: Final = (
    ConnectionLoss,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
    AuthFailedError,
)
"""The server did not answer, or not this session: nothing is proven."""
ANSWERS: Final = (NoNodeError, NodeExistsError, BadVersionError)
"""Errors that callers expect and decide on."""
GOODBYE_PART: Final = 3
"""A server may take this part of the session timeout to answer the good-bye."""


class Link:
    """A connected client for one session. Made on the loop it belongs to.

    Args:
        options: where to connect to.
        clock: its monotonic time stamps what is sent; read by this loop only.
        on_state: called on the loop with every change of state, in order; `state` may be further.
    """

    def __init__(
        self, options: ZooKeeperOptions, clock: Clock, on_state: Callable[[SessionState], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._bridge = Bridge(self._loop)
        self._proven_at_mono_ms: int | None = None
        self.why_over = "the service has ended the session"
        self.client = FailFastClient(
            options, lambda word: self._bridge.post(lambda: on_state(SessionState(word)))
        )
        self.acl: Any = self.client.default_acl or OPEN_ACL_UNSAFE

    @property
    def state(self) -> SessionState:
        """What is known of the session now."""
        return self.client.session_state

    @property
    def session_timeout_ms(self) -> int:
        """What the server granted."""
        return self.client.granted_timeout_ms

    @property
    def session_id(self) -> int:
        """Owner of this session's ephemeral entries."""
        return self.client.session_id

    @property
    def proven_at_mono_ms(self) -> int | None:
        """When the last request that proves the session was sent."""
        return self._proven_at_mono_ms

    def start(self) -> None:
        """Begin to connect."""
        self.client.start_async()

    def post(self, call: Callable[[], None]) -> None:
        """Run it on the loop, after everything that was received before; for other threads."""
        self._bridge.post(call)

    def require(self, name: str) -> None:
        """Fail fast unless connected.

        Raises:
            CoordinationUnavailable: suspended.
            SessionLost: over.
        """
        if self.state is not SessionState.CONNECTED:
            raise self._refusal(name, "it was not sent")

    async def ask(self, name: str, request: Any) -> Any:
        """Send one request over the connection of now and wait for its answer.

        Args:
            name: what is being done, for errors.
            request: one of requests.py.

        Raises:
            NoNodeError, NodeExistsError, BadVersionError: the answer is no.
            CoordinationUnavailable: not sent, or the outcome is unknown.
            SessionLost: over.
            PermissionDenied: the credentials have no right to the entry.
        """
        self.require(name)
        sent_mono_ms = self._clock.now().mono_ms
        answer: asyncio.Future[Any] = self._loop.create_future()
        result = self.client.ask(request)
        result.rawlink(lambda done: self._bridge.post(lambda: _settle(answer, done)))
        try:
            found = await answer
        except UNANSWERED as error:
            raise self._refusal(name, "whether it was applied is unknown") from error
        except ANSWERS:
            self._prove(request, sent_mono_ms)
            raise
        except KazooException as error:
            raise _translated(name, error) from error
        self._prove(request, sent_mono_ms)
        return found

    def break_connection(self) -> None:
        """The server has been silent for too long: suspend, and look for it again."""
        self.client.drop()

    async def close(self, why: str) -> None:
        """End the session and the client's thread. Safe to repeat."""
        ended = self._loop.create_future()
        if not self.client.is_over:
            self.why_over = why

        def end() -> None:
            self.end_now()
            self._bridge.post(lambda: _settle_plain(ended))

        threading.Thread(target=end, name="zookeeper session: end", daemon=True).start()
        await ended

    def end_now(self) -> None:
        """End the session from another thread than the loop's; waits."""
        self.client.finish(self.session_timeout_ms / GOODBYE_PART / 1_000)

    def _prove(self, request: Any, sent_mono_ms: int) -> None:
        """The session lived when the leader saw this; trust is counted from the sending."""
        if is_through_leader(request):
            self._proven_at_mono_ms = max(sent_mono_ms, self._proven_at_mono_ms or sent_mono_ms)

    def _refusal(self, name: str, outcome: str) -> CoordinationUnavailable:
        """Why nothing can be said about a request."""
        if self.state is SessionState.LOST:
            return SessionLost(f"{name}: {self.why_over}; open a new session and join again")
        return CoordinationUnavailable(f"{name}: ZooKeeper does not answer; {outcome}")


def _settle(answer: asyncio.Future[Any], done: Any) -> None:
    """Move an answer from kazoo's future to ours; kazoo may set its own twice."""
    if answer.done():
        return
    if done.exception is None:
        answer.set_result(done.value)
    else:
        answer.set_exception(done.exception)


def _settle_plain(ended: asyncio.Future[None]) -> None:
    """Wake whoever waits, if somebody still does."""
    if not ended.done():
        ended.set_result(None)


def _translated(name: str, error: KazooException) -> TimeballError:
    """An error of ours for one that nobody expects."""
    if isinstance(error, NoAuthError):
        return PermissionDenied(
            f"{name}: ZooKeeper gives this user no right to the entry; use the user that made "
            "the entries, or another root"
        )
    return CoordinationUnavailable(f"{name}: ZooKeeper refused ({type(error).__name__})")
