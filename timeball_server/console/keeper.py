"""Who may see the console: the same credentials as everywhere, and sessions in their name."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from timeball.errors import PermissionDenied, TimeballError, Unauthenticated

from timeball_server.console.cookies import read_cookie
from timeball_server.rpc.auth import KEY_PREFIX, Authenticator, Principal, Role, Sessions
from timeball_server.rpc.live_keys import Learner

log = structlog.stdlib.get_logger("audit")


class Keeper:
    """Admits viewers.

    Args:
        authenticator: what the gate asks.
        sessions: the same one; lets browsers exchange a key for a session.
    """

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator = authenticator
        self._sessions = sessions
        self._learner = authenticator if isinstance(authenticator, Learner) else None

    async def admit(self, request: Request) -> Principal:
        """Who asks: by the header, else by the session's cookie.

        Raises:
            Unauthenticated: nobody that is known.
            PermissionDenied: somebody without the role viewer.
            Unavailable: that cannot be said now.
        """
        header = _authorization(request)
        await self._learn(_of_session(read_cookie(request)) if header is None else header)
        return self._viewer(request)

    async def would_admit(self, request: Request) -> bool:
        """Whether who asks is let in.

        Raises:
            Unavailable: that cannot be said now.
        """
        try:
            await self.admit(request)
        except (Unauthenticated, PermissionDenied):
            return False
        return True

    def admits_still(self, request: Request) -> bool:
        """Whether who was admitted would be admitted now, by what is known without reading."""
        try:
            self._viewer(request)
        except TimeballError:
            return False
        return True

    async def open_session(self, key: str, lasts_ms: int) -> str:
        """A token for the holder of an API key.

        Raises:
            as admit.
        """
        credential = f"Bearer {key}"
        await self._learn(credential)
        who = _with_role(self._authenticator.authenticate(credential))
        token = self._sessions.open_session(credential, lasts_ms)
        log.info("console session begun", actor=who.subject, outcome="OK")
        return token

    def _viewer(self, request: Request) -> Principal:
        header = _authorization(request)
        if header is not None:
            return _with_role(self._authenticator.authenticate(header))
        return _with_role(self._sessions.session_holder(read_cookie(request)))

    async def _learn(self, authorization: str) -> None:
        """Let the authenticator read what it must before it can say who asks."""
        if self._learner is not None and not self._learner.knows(authorization):
            await self._learner.learn(authorization)


def _authorization(request: Request) -> str | None:
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise Unauthenticated("send one authorization header, not several")
    return headers[0] if headers else None


def _of_session(token: str) -> str:
    """A credential without its secret, by which the key behind a session is learned."""
    return f"Bearer {KEY_PREFIX}.{token.partition('.')[0]}."


def _with_role(who: Principal) -> Principal:
    if Role.VIEWER not in who.roles:
        raise PermissionDenied("the console needs a key with the role viewer")
    return who
