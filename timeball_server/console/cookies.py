"""The console's one cookie: out of scripts' reach, for this site's own requests only."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from starlette.requests import Request
from timeball.errors import Unauthenticated

from timeball_server.rpc.auth import is_loopback

NAME: Final = "timeball_console"


def session_cookie(token: str, lasts_s: int, host: str) -> str:
    """Value of Set-Cookie.

    Args:
        host: of the request. Outside loopback the browser may send it over TLS only, so behind
            anything else signing in does not work at all.
    """
    return f"{NAME}={quote(token, safe='')}; Max-Age={lasts_s}; {_scope(host)}"


def ended_cookie(host: str) -> str:
    """Value of Set-Cookie that ends the session in the browser."""
    return f"{NAME}=; Max-Age=0; {_scope(host)}"


def read_cookie(request: Request) -> str:
    """The token, empty without one.

    Raises:
        Unauthenticated: there is more than one.
    """
    tokens = _tokens(request)
    if len(tokens) > 1:
        raise Unauthenticated("two sessions at once; sign in again")
    return tokens[0] if tokens else ""


def has_cookie(request: Request) -> bool:
    """Whether the browser sent one; says nothing of its worth."""
    return bool(_tokens(request))


def _tokens(request: Request) -> list[str]:
    pairs = (
        pair.strip().partition("=")
        for header in request.headers.getlist("cookie")
        for pair in header.split(";")
    )
    return [unquote(value) for name, _, value in pairs if name == NAME]


def _scope(host: str) -> str:
    secure = "" if is_loopback(host if ":" in host else f"{host}:") else "; Secure"
    return f"Path=/console; HttpOnly; SameSite=Strict{secure}"
