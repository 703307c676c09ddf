"""The ASGI application: one request in, one answer out, and never an exception.

Owns headers, sizes and the browser's rules: no other site's page may call, and on an open server
no other name than this machine's is answered to.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from timeball.errors import (
    Internal,
    InvalidRequest,
    OutcomeUnknown,
    ResourceExhausted,
    TimeballError,
)

from timeball_server.core.limits import MAX_MESSAGE_BYTES
from timeball_server.rest.answers import JSON_TYPE, Answer, failure, success
from timeball_server.rest.calls import Caller
from timeball_server.rest.index import INDEX_HEADERS, index_page
from timeball_server.rest.openapi import comments, document
from timeball_server.rest.preconditions import HEADER as IF_MATCH
from timeball_server.rest.preconditions import set_etag
from timeball_server.rest.problems import (
    BodyTooLarge,
    ForeignOrigin,
    MethodNotAllowed,
    UnsupportedMediaType,
)
from timeball_server.rest.requests import request_message
from timeball_server.rest.routes import find_route, read_routes
from timeball_server.rest.templates import UndecodablePath
from timeball_server.rpc.auth import is_loopback

MAX_BODY_BYTES: Final = 6 * 1024 * 1024
"""One body; bytes travel as base64, so this holds a message of the gRPC door's limit."""
MAX_CALLS: Final = 1_000
"""Requests carried out at the same time; more are refused with 429."""
BODY_DEADLINE_S: Final = 30
"""How long a body may take to arrive."""
MAX_REQUEST_ID_CHARACTERS: Final = 128
_INDEX, _OPENAPI, _CONSOLE = "/", "/openapi.json", "/console"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ALWAYS: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_BUG_SENTENCE: Final = "the server failed at this; it was noted, and trying again may help"
OnBug = Callable[[str, BaseException], None]


class RestApp:
    """Serves the public API as JSON. `refused` counts errors that left by this door, by reason.

    Args:
        caller: carries out RPCs.
        version: of this server, for people.
        open_access: whether nobody needs a credential; then only loopback names are answered.
        on_bug: is told of what should not have been raised.
        console: serves everything below /console, if there is one.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        version: str,
        open_access: bool,
        on_bug: OnBug,
        console: ASGIApp | None = None,
    ) -> None:
        self._console = console
        self._caller = caller
        self._version = version
        self._open_access = open_access
        self._on_bug = on_bug
        self._routes = read_routes()
        self._calls = 0
        self.refused: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if self._console is not None and _is_consoles(scope["path"]):
            await self._show(self._console, request, send)
            return
        self._calls += 1
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return
        finally:
            self._calls -= 1
        await _send(answer, request, send)

    async def _show(self, console: ASGIApp, request: Request, send: Send) -> None:
        """Let the console answer, if a browser may ask at all."""
        try:
            self._check_browser(request)
        except ForeignOrigin as error:
            self.refused[error.reason] += 1
            await _send(failure(error, request.headers.get("accept", "")), request, send)
            return
        try:
            await console(request.scope, request.receive, send)
        except Exception as bug:  # noqa: BLE001 - counted; the server ends the connection
            self._on_bug(f"{request.method} {request.url.path}", bug)

    async def _answer(self, request: Request) -> Answer:
        accept = request.headers.get("accept", "")
        try:
            return await self._served(request)
        except TimeballError as error:
            self.refused[error.reason] += 1
            return failure(error, accept)
        except ClientDisconnect:
            raise
        except Exception as bug:  # noqa: BLE001 - counted; its words are not for callers
            self._on_bug(f"{request.method} {request.url.path}", bug)
            return failure(Internal(_BUG_SENTENCE), accept)

    async def _served(self, request: Request) -> Answer:
        if self._calls > MAX_CALLS:
            raise ResourceExhausted("too many requests at the same time; wait as told")
        self._check_browser(request)
        path = _raw_path(request)
        if path in (_INDEX, _OPENAPI):
            return self._document(request, path)
        try:
            found = find_route(self._routes, request.method, path)
        except MethodNotAllowed as error:
            if request.method == "OPTIONS":
                return Answer(status=204, headers={"allow": ", ".join(error.allowed)})
            raise
        except UndecodablePath as error:
            raise InvalidRequest(str(error)) from error
        body = await _body(request)
        message = request_message(found, _query(request), body, _one(request, "idempotency-key"))
        set_etag(message, request.method, _one(request, IF_MATCH))
        raw = message.SerializeToString()
        if len(raw) > MAX_MESSAGE_BYTES:
            raise BodyTooLarge(f"the request must be at most {MAX_MESSAGE_BYTES} bytes packed")
        response = await self._caller.call(found.route, raw, _metadata(request))
        return success(found.route, response)

    def _document(self, request: Request, path: str) -> Answer:
        """The two pages that describe this door."""
        allowed = ("GET", "HEAD", "OPTIONS")
        if request.method == "OPTIONS":
            return Answer(status=204, headers={"allow": ", ".join(allowed)})
        if request.method not in allowed:
            raise MethodNotAllowed("this path takes GET", allowed)
        if path == _INDEX:
            return Answer(status=200, body=self._index, headers=INDEX_HEADERS)
        return Answer(status=200, body=self._openapi, headers={"content-type": JSON_TYPE})

    @cached_property
    def _index(self) -> bytes:
        has_console = self._console is not None
        return index_page(self._routes, comments(), self._version, console=has_console).encode()

    @cached_property
    def _openapi(self) -> bytes:
        return json.dumps(document(self._routes, comments())).encode()

    def _check_browser(self, request: Request) -> None:
        """Other sites' pages make browsers call; what they can forge is not enough.

        Raises:
            ForeignOrigin: such a page is behind this request.
        """
        host = request.headers.get("host", "")
        if self._open_access and not is_loopback(host if ":" in host else f"{host}:"):
            raise ForeignOrigin("this server is open, so it answers to loopback names only")
        origin = request.headers.get("origin")
        if origin is None or request.method in _SAFE:
            return
        if urlsplit(origin).netloc.lower() != host.lower():
            raise ForeignOrigin("pages of other sites cannot call this server")


def _is_consoles(path: str) -> bool:
    return path == _CONSOLE or path.startswith(f"{_CONSOLE}/")


async def _send(answer: Answer, request: Request, send: Send) -> None:
    headers = {**_ALWAYS, **answer.headers, **_request_id(request)}
    body = b"" if request.method == "HEAD" else answer.body
    response = Response(body, status_code=answer.status, headers=headers)
    if request.method == "HEAD":
        response.headers["content-length"] = str(len(answer.body))
    await response(request.scope, request.receive, send)


async def _body(request: Request) -> bytes:
    """The body, up to its limit and in time."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise BodyTooLarge(f"the body must be at most {MAX_BODY_BYTES} bytes")
                chunks.append(chunk)
    except TimeoutError as error:
        raise OutcomeUnknown(f"the body did not arrive within {BODY_DEADLINE_S} s") from error
    if size:
        _check_media_type(request)
    return b"".join(chunks)


def _check_media_type(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("send the body as it is, without content-encoding")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON_TYPE and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"send the body with content-type: {JSON_TYPE}")


def _raw_path(request: Request) -> str:
    raw: Any = request.scope.get("raw_path") or request.scope["path"].encode()
    return bytes(raw).partition(b"?")[0].decode("ascii", "replace")


def _query(request: Request) -> list[tuple[str, str]]:
    text = bytes(request.scope["query_string"]).decode("ascii", "replace")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1_000)
    except ValueError as error:
        raise InvalidRequest("the query must be percent-encoded UTF-8, in name=value") from error


def _one(request: Request, name: str) -> str | None:
    """A header's value, None without; two of them are refused."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequest(f"send one header {name}, not several")
    return values[0] if values else None


def _metadata(request: Request) -> tuple[tuple[str, str], ...]:
    """What the gate reads; it refuses several credentials itself."""
    return tuple(("authorization", value) for value in request.headers.getlist("authorization"))


def _request_id(request: Request) -> dict[str, str]:
    sent = request.headers.get("x-request-id", "")
    fit = 0 < len(sent) <= MAX_REQUEST_ID_CHARACTERS and sent.isascii() and sent.isprintable()
    return {"x-request-id": sent} if fit else {}
