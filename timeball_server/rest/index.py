"""The page at /: what is served here, in plain HTML without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from timeball_server.rest.routes import Route

INDEX_HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Timeball {version}</title></head>
<body>
<h1>Timeball {version}</h1>
<p>The API as JSON over HTTP. <a href="/openapi.json">OpenAPI 3.1</a> describes it.{console}</p>
<table>
<thead><tr><th>Method</th><th>Path</th><th>What it does</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


_CONSOLE: Final = ' The <a href="/console">console</a> shows the cluster live.'


def index_page(
    routes: Sequence[Route], comments: Mapping[str, str], version: str, *, console: bool = False
) -> str:
    """The page.

    Args:
        comments: sentences of the protos by full name.
        console: whether there is one.
    """
    rows = "\n".join(_row(route, comments.get(route.rpc.full_name, "")) for route in routes)
    return _PAGE.format(version=escape(version), rows=rows, console=_CONSOLE if console else "")


def _row(route: Route, sentence: str) -> str:
    path = escape(route.template.text)
    return (
        f"<tr><td>{route.method}</td><td><code>{path}</code></td><td>{escape(sentence)}</td></tr>"
    )
