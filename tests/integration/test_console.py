"""The console over HTTP: who is let in, what a browser is told to forbid, and its stream."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.support.console_world import (
    CLOCK,
    PEPPER,
    PUBLISHER_KEY,
    VIEWER_KEY,
    ConsoleWorld,
    api_keys,
    console_world,
)
from tests.support.polls import eventually
from timeball_server.console.app import MAX_BODY_BYTES
from timeball_server.ports.access import KeyRow
from timeball_server.ports.metrics import Figures
from timeball_server.rpc.auth import key_digest
from timeball_server.rpc.live_keys import LiveKeys

pytestmark = pytest.mark.asyncio
DEADLINE_S = 20
FILES = ("console.js", "views.js", "tables.js", "charts.js", "dom.js", "console.css", "icon.svg")
BEARER = {"Authorization": f"Bearer {VIEWER_KEY}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def reason(self) -> str:
        return str(self.json["error"]["details"][0]["reason"])


def ask_now(where: str, method: str, path: str, body: bytes | None, headers: Any) -> Reply:
    host, _, port = where.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)) as connection:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(status=answer.status, headers=names, raw=answer.read())


async def ask(
    world: ConsoleWorld,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return await asyncio.to_thread(ask_now, world.http, method, path, body, headers or {})


def figure(world: ConsoleWorld, name: str) -> dict[tuple[str, ...], float]:
    """The coordinator's samples of this name, by labels."""
    found = next(each for each in world.front.metrics() if each.name == name)
    assert isinstance(found, Figures)
    return dict(found.samples)


class Stream:
    """A stream as curl sees it."""

    def __init__(self, reader: asyncio.StreamReader, head: bytes) -> None:
        self._reader = reader
        self.status = int(head.split(b" ")[1])
        self.head = head.decode().lower()

    async def event(self) -> dict[str, str]:
        """The next one; fields by name, nothing at the end. The transport's lines are no fields."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_S):
            while line := await self._reader.readline():
                name, colon, value = line.decode().rstrip("\r\n").partition(": ")
                if colon:
                    fields[name] = value
                elif not name and fields:
                    break
        return fields

    async def picture(self) -> tuple[str, Any]:
        """Id and data of the next picture."""
        while True:
            found = await self.event()
            assert found, "the stream has ended"
            if found.get("event") == "picture":
                return found["id"], json.loads(found["data"])


@asynccontextmanager
async def streaming(
    world: ConsoleWorld, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    host, _, port = world.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    writer.write(f"GET /console/stream HTTP/1.1\r\nHost: {world.http}\r\n{more}\r\n".encode())
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield Stream(reader, await reader.readuntil(b"\r\n\r\n"))
    finally:
        writer.close()


async def test_every_file_is_served_under_the_policy_and_nothing_else_is() -> None:
    async with console_world() as world:
        page = await ask(world, "GET", "/console")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert (await ask(world, "GET", "/console/")).raw == page.raw
        for name in FILES:
            assert (await ask(world, "GET", f"/console/{name}")).status == 200
        replies = [page, await ask(world, "GET", "/console/console.js")]
        replies.append(await ask(world, "GET", "/console/../auth.py"))
        replies.append(await ask(world, "GET", "/console/%2e%2e/app.py"))
        assert [reply.status for reply in replies] == [200, 200, 404, 404]
        for reply in replies:
            policy = reply.headers["content-security-policy"].split("; ")
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "require-trusted-types-for 'script'" in policy
            assert "unsafe" not in reply.headers["content-security-policy"]
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in reply.headers
        head = await ask(world, "HEAD", "/console")
        assert (head.status, head.raw) == (200, b"")
        assert b"<script>" not in page.raw
        assert b" style=" not in page.raw
        assert b" onclick=" not in page.raw
        assert b"/console" in (await ask(world, "GET", "/")).raw


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/console", "GET, HEAD"),
        ("DELETE", "/console/console.js", "GET, HEAD"),
        ("POST", "/console/stream", "GET"),
        ("PUT", "/console/session", "DELETE, GET, POST"),
    ],
)
async def test_it_only_shows(method: str, path: str, allow: str) -> None:
    async with console_world() as world:
        reply = await ask(world, method, path)
        assert (reply.status, reply.headers["allow"]) == (405, allow)


async def test_an_open_console_answers_to_loopback_names_and_its_own_pages_only() -> None:
    async with console_world() as world:
        for headers in (
            {"Host": "evil.example"},
            {"Host": "evil.example:7467"},
        ):
            for path in ("/console", "/console/stream", "/console/session"):
                refused = await ask(world, "GET", path, headers=headers)
                assert (refused.status, refused.reason) == (403, "FOREIGN_ORIGIN")
        for headers in (
            {"Origin": "http://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            async with streaming(world, headers) as stream:
                assert stream.status == 403
        for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": f"http://{world.http}"}):
            async with streaming(world, headers) as stream:
                assert stream.status == 200


async def test_a_stream_shows_the_cluster_and_goes_on_where_it_was() -> None:
    async with console_world() as world:
        await world.add_node("east")
        async with streaming(world) as stream:
            assert "content-type: text/event-stream" in stream.head
            assert "cache-control: no-store" in stream.head
            assert await stream.event() == {"retry": "1000"}

            async def all_owned() -> str | None:
                number, data = await stream.picture()
                rows = data["picture"]["shards"]
                return number if all(row.get("phase") == "SERVING" for row in rows) else None

            number = await eventually(all_owned, "every shard is served")
        life = number.split("-")[0]
        async with streaming(world, {"Last-Event-ID": number}) as stream:
            again, data = await stream.picture()
            assert again.split("-")[0] == life
            assert data["picture"]["about"]["coordinator"] == "front"
            assert [each["name"] for each in data["picture"]["nodes"]] == ["east"]
            assert data["picture"]["coordinators"][0]["leader"] is True
            assert data["history"]["until_s"] > data["history"]["since_s"] - 1
            assert "namespace" not in json.dumps(data)


async def test_a_stream_ends_with_a_word_when_the_coordinator_stops() -> None:
    async with console_world() as world, streaming(world) as stream:
        await stream.picture()
        stopping = asyncio.create_task(world.front.stop())
        found = await stream.event()
        while found and found.get("event") != "end":
            found = await stream.event()
        assert found == {"event": "end", "data": "{}"}
        async with asyncio.timeout(DEADLINE_S):
            await stopping


async def test_a_viewer_that_goes_without_a_word_is_forgotten() -> None:
    async with console_world() as world:

        async def watched_by(count: int) -> bool:
            return figure(world, "timeball_console_viewers") == {(): count}

        async with streaming(world) as one, streaming(world) as other:
            await asyncio.gather(one.picture(), other.picture())
            assert await watched_by(2)
        await eventually(lambda: watched_by(0), "nobody watches any more")


async def test_with_keys_only_a_viewer_sees_the_cluster() -> None:
    async with console_world(api_keys()) as world:
        assert (await ask(world, "GET", "/console")).status == 200
        refused = await ask(world, "GET", "/console/stream")
        assert figure(world, "timeball_calls_refused") == {("UNAUTHENTICATED",): 1}
        assert (refused.status, refused.reason) == (401, "UNAUTHENTICATED")
        nobody = {"Authorization": f"Bearer {PUBLISHER_KEY}"}
        assert (await ask(world, "GET", "/console/stream", headers=nobody)).status == 403
        async with streaming(world, BEARER) as stream:
            assert (await stream.picture())[1]["picture"]["at_ms"] > 0
        who = await ask(world, "GET", "/console/session")
        assert who.json == {"allowed": False, "session": False}


def signing_in(key: object) -> bytes:
    return json.dumps({"key": key}).encode()


JSON = {"Content-Type": "application/json"}


async def test_a_key_becomes_a_session_that_scripts_cannot_read() -> None:
    async with console_world(api_keys()) as world:
        reply = await ask(world, "POST", "/console/session", signing_in(VIEWER_KEY), JSON)
        assert (reply.status, reply.raw) == (204, b"")
        cookie, *attributes = reply.headers["set-cookie"].split("; ")
        assert attributes == ["Max-Age=28800", "Path=/console", "HttpOnly", "SameSite=Strict"]
        assert "secret" not in cookie
        async with streaming(world, {"Cookie": f"other=1; {cookie}"}) as stream:
            assert (await stream.picture())[1]["picture"]["at_ms"] > 0
        who = await ask(world, "GET", "/console/session", headers={"Cookie": cookie})
        assert who.json == {"allowed": True, "session": True}
        for wrong in (cookie[:-1] + "x", f"{cookie}; {cookie}", cookie.replace("viewer", "nobody")):
            assert (
                await ask(world, "GET", "/console/stream", headers={"Cookie": wrong})
            ).status == 401
        api = await ask(world, "GET", "/v1/cluster", headers={"Cookie": cookie})
        assert api.status == 401  # the session is for the console alone
        ended = await ask(world, "DELETE", "/console/session", headers={"Cookie": cookie})
        assert ended.headers["set-cookie"].startswith("timeball_console=; Max-Age=0; ")


async def test_a_session_of_a_stored_key_is_known_everywhere_and_ends_with_the_key() -> None:
    key = "tb.shop_abc.s3cret"
    row = KeyRow(
        namespace="shop",
        key_id="shop_abc",
        digest=key_digest(key, PEPPER),
        subject="clerk",
        roles=("viewer",),
        created_ms=1,
        created_by="boss",
        request_id="",
    )
    keys = LiveKeys({}, PEPPER, CLOCK)
    async with console_world(keys) as world:
        await world.store.access.add(row)
        reply = await ask(world, "POST", "/console/session", signing_in(key), JSON)
        assert reply.status == 204
        cookie = {"Cookie": reply.headers["set-cookie"].split(";")[0]}
        keys.forget_all()  # as a coordinator that has never heard of this key
        async with streaming(world, cookie) as stream:
            await stream.picture()
            assert await world.store.access.change(replace(row, revoked_ms=5))
            keys.forget_all()
            found = await stream.event()
            while found.get("event") == "picture":
                found = await stream.event()
            assert found == {"event": "end", "data": "{}"}
        assert (await ask(world, "GET", "/console/stream", headers=cookie)).status == 401
        who = await ask(world, "GET", "/console/session", headers=cookie)
        assert who.json == {"allowed": False, "session": True}


async def test_behind_a_public_name_the_cookie_travels_over_tls_only() -> None:
    async with console_world(api_keys()) as world:
        headers = {**JSON, "Host": "timeball.example"}
        reply = await ask(world, "POST", "/console/session", signing_in(VIEWER_KEY), headers)
        assert reply.headers["set-cookie"].endswith("; SameSite=Strict; Secure")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (signing_in("tb.viewer.wrong"), JSON, 401),
        (signing_in(PUBLISHER_KEY), JSON, 403),
        (signing_in(7), JSON, 400),
        (b"[]", JSON, 400),
        (b"not json", JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b"[" * MAX_BODY_BYTES, JSON, 400),
        (b" " * (MAX_BODY_BYTES + 1), JSON, 413),
        (signing_in(VIEWER_KEY), {"Content-Type": "text/plain"}, 415),
        (signing_in(VIEWER_KEY), {**JSON, "Origin": "https://evil.example"}, 403),
        (signing_in(VIEWER_KEY), {**JSON, "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_nothing_else_becomes_a_session(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    async with console_world(api_keys()) as world:
        reply = await ask(world, "POST", "/console/session", body, headers)
        assert reply.status == status
        assert "set-cookie" not in reply.headers
