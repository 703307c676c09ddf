"""The console's part of the HTTP door: the page, its files, the stream, and signing in.

Owns the headers that keep a browser from doing anything else with it. Shows nothing but the page
itself to those who may not see the cluster; changes nothing there.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from timeball.errors import InvalidRequest, TimeballError

from timeball_server.console.collector import Collector
from timeball_server.console.cookies import ended_cookie, has_cookie, session_cookie
from timeball_server.console.document import encoded
from timeball_server.console.keeper import Keeper
from timeball_server.console.stream import serve_stream
from timeball_server.ports.clock import Clock
from timeball_server.rest.answers import JSON_TYPE, Answer, failure
from timeball_server.rest.problems import (
    BodyTooLarge,
    ForeignOrigin,
    MethodNotAllowed,
    PathNotFound,
    UnsupportedMediaType,
)

PREFIX: Final = "/console"
SESSION_MS: Final = 8 * 3_600_000
"""How long one sign-in lasts: a shift."""
MAX_BODY_BYTES: Final = 2_048
BODY_DEADLINE_S: Final = 10
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFETY: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_KINDS: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PAGE: Final = "console.html"


class ConsoleApp:
    """Serves everything below PREFIX; `refused` counts what it would not do, by reason.

    Its life tells this collector's events from another one's.
    """

    def __init__(
        self, collector: Collector, keeper: Keeper, clock: Clock, refused: Counter[str]
    ) -> None:
        self._refused = refused
        self._collector = collector
        self._keeper = keeper
        self._life = clock.now().wall_ms
        self._files = _static_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, already known to come from a browser's own page or from no page."""
        request = Request(scope, receive)
        try:
            if _path(request) == "/stream" and request.method == "GET":
                await self._stream(request, send)
                return
            answer = await self._answer(request)
        except ClientDisconnect:
            return
        except TimeballError as error:
            self._refused[error.reason] += 1
            answer = failure(error, request.headers.get("accept", ""))
        headers = {**SAFETY, **answer.headers}
        body = b"" if request.method == "HEAD" else answer.body
        await Response(body, status_code=answer.status, headers=headers)(scope, receive, send)

    @property
    def viewers(self) -> int:
        """How many streams there are now."""
        return self._collector.viewers

    async def close(self) -> None:
        """End every stream. Safe to call twice."""
        await self._collector.close()

    async def _answer(self, request: Request) -> Answer:
        path = _path(request)
        if path == "/session":
            return await self._session(request)
        found = self._files.get(path)
        if found is None and path != "/stream":
            raise PathNotFound("the console has no such file; its page is at /console")
        if found is None or request.method not in ("GET", "HEAD"):
            allowed = ("GET",) if found is None else ("GET", "HEAD")
            raise MethodNotAllowed("the console only shows", allowed)
        kind, body = found
        return Answer(status=200, body=body, headers={"content-type": kind})

    async def _stream(self, request: Request, send: Send) -> None:
        _refuse_other_sites(request)
        await self._keeper.admit(request)
        await serve_stream(
            request.receive,
            send,
            self._collector,
            life=self._life,
            last_event_id=request.headers.get("last-event-id", ""),
            still_allowed=partial(self._keeper.admits_still, request),
        )

    async def _session(self, request: Request) -> Answer:
        """Who looks (GET), begin a session with a key (POST), end it (DELETE)."""
        _refuse_other_sites(request)
        host = request.headers.get("host", "")
        if request.method == "GET":
            is_allowed = await self._keeper.would_admit(request)
            known = {"allowed": is_allowed, "session": has_cookie(request)}
            return Answer(status=200, body=encoded(known), headers={"content-type": JSON_TYPE})
        if request.method == "DELETE":
            return Answer(status=204, headers={"set-cookie": ended_cookie(host)})
        if request.method != "POST":
            raise MethodNotAllowed("a session is begun by POST", ("DELETE", "GET", "POST"))
        token = await self._keeper.open_session(await _key(request), SESSION_MS)
        cookie = session_cookie(token, SESSION_MS // 1_000, host)
        return Answer(status=204, headers={"set-cookie": cookie})


def _path(request: Request) -> str:
    """What follows the prefix, empty for the page."""
    return str(request.scope["path"]).removeprefix(PREFIX).rstrip("/")


def _refuse_other_sites(request: Request) -> None:
    """Pages of other sites could not read an answer; they shall not even cause one."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    site = request.headers.get("sec-fetch-site", "none")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if foreign or site not in ("same-origin", "none"):
        raise ForeignOrigin("pages of other sites cannot use the console")


async def _key(request: Request) -> str:
    """The API key in the body {"key": "..."}."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != JSON_TYPE:
        raise UnsupportedMediaType("send the key as JSON")
    try:
        value: Any = json.loads(await _body(request))
        key = value["key"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidRequest('the body must be {"key": "..."}') from error
    if not isinstance(key, str):
        raise InvalidRequest("key must be a text")
    return key


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BodyTooLarge(f"the body must be at most {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise InvalidRequest(f"the body did not arrive within {BODY_DEADLINE_S} s") from error
    return body


def _static_files() -> Mapping[str, tuple[str, bytes]]:
    """Every file of the page by its path below the prefix: media type and bytes."""
    found = {
        f"/{each.name}": (_KINDS[each.name.rpartition(".")[2]], each.read_bytes())
        for each in files("timeball_server.console").joinpath("static").iterdir()
        if each.name.rpartition(".")[2] in _KINDS
    }
    return {**found, "": found[f"/{_PAGE}"]}
