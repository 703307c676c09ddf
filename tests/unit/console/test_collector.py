"""One look a second for all who watch, none for nobody, and streams that say what is new."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.types import Message
from timeball.errors import CoordinationUnavailable, ResourceExhausted

from tests.support.manual_clock import ManualClock
from timeball_server.console.collector import EVERY_MS, LINGER_LOOKS, MAX_VIEWERS, Collector
from timeball_server.console.document import About
from timeball_server.console.sight import FromSecond, ShardSight, Sight
from timeball_server.console.stream import PATIENCE_S, resumed_at, serve_stream
from timeball_server.core.ids import Epoch, NodeId, ShardId
from timeball_server.ports.owners import NodeFigures, SecondFigures

pytestmark = pytest.mark.asyncio
EAST = NodeId("east")
LIFE = 77


class World:
    """A cluster of one node and one shard that a test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.owner: NodeId | None = EAST
        self.failure: Exception | None = None
        self.asked: list[int] = []
        self.bugs: list[str] = []
        about = About(coordinator="front", version="1", store="memory", since_ms=1)
        self.collector = Collector(self.look, about, self.clock, self.note)

    def note(self, where: str, bug: BaseException) -> None:
        self.bugs.append(f"{where}: {bug}")

    async def look(self, from_s: FromSecond) -> Sight:
        self.asked.append(from_s(EAST))
        if self.failure is not None:
            raise self.failure
        now_s = self.clock.now().wall_ms // 1_000
        row = SecondFigures(second=now_s - 1, created=1, failed=0, late_counts=(1,), late_max_ms=1)
        node = NodeFigures(
            shards=(), executors=(), seconds=(row,), since_s=now_s - 9, until_s=now_s,
            lease_left_ms=1,
        )  # fmt: skip
        shard = ShardSight(
            shard=ShardId(0), owner=self.owner, epoch=Epoch(1), assigned=EAST, reason="",
            figures=None,
        )  # fmt: skip
        return Sight(
            at_ms=self.clock.now().wall_ms, leader=EAST, assignment_version=1, members=(),
            shards=(shard,), nodes={EAST: node},
        )  # fmt: skip

    async def picture(self, number: int = 0) -> Any:
        frame = await self.collector.newer(number)
        assert frame is not None
        return json.loads(frame.picture)


async def test_nobody_watches_nobody_looks_and_many_cost_as_much_as_one() -> None:
    world = World()
    await world.clock.pass_by(10 * EVERY_MS, steps=10)
    assert world.asked == []
    with ExitStack() as viewers:
        for _ in range(MAX_VIEWERS):
            viewers.enter_context(world.collector.watching())
        await world.clock.pass_by(5 * EVERY_MS, steps=5)
        assert len(world.asked) == 6
        with pytest.raises(ResourceExhausted, match="64 consoles"), world.collector.watching():
            raise AssertionError("one more than the limit")
    await world.clock.pass_by(10 * EVERY_MS, steps=10)
    assert len(world.asked) == 6 + LINGER_LOOKS
    with world.collector.watching():
        assert (await world.picture())["at_ms"] == world.clock.now().wall_ms
    await world.collector.close()


async def test_a_node_is_asked_for_the_seconds_that_it_has_not_told() -> None:
    world = World()
    with world.collector.watching():
        await world.clock.pass_by(EVERY_MS, steps=1)
        first, second = world.asked
        assert (first, second) == (0, world.clock.now().wall_ms // 1_000 - 1)
    await world.collector.close()


async def test_since_when_a_shard_has_no_owner_is_exact_only_if_its_beginning_was_seen() -> None:
    world = World()
    with world.collector.watching():
        await world.clock.pass_by(EVERY_MS)
        world.owner = None
        await world.clock.pass_by(3 * EVERY_MS, steps=3)
        assert (await world.picture())["verdict"]["reasons"][0] == "shard 0 has no owner for 2 s"
        world.owner = EAST
        await world.clock.pass_by(EVERY_MS)
        assert (await world.picture())["verdict"]["level"] == "on_time"
        await world.clock.pass_by(2 * EVERY_MS, steps=2)
        reasons = (await world.picture())["verdict"]["reasons"]
        assert reasons == ["shard 0 still loading after 2 s"]
    await world.collector.close()
    blank = World()
    blank.owner = None
    with blank.collector.watching():
        await blank.clock.pass_by(2 * EVERY_MS, steps=2)
        reason = (await blank.picture())["verdict"]["reasons"][0]
        assert reason == "shard 0 has no owner for at least 2 s"
    await blank.collector.close()


async def test_a_look_that_fails_is_shown_and_followed_by_the_next_one() -> None:
    world = World()
    with world.collector.watching():
        world.failure = CoordinationUnavailable("no session right now")
        await world.clock.pass_by(EVERY_MS)
        assert (await world.picture())["verdict"]["reasons"] == ["no session right now"]
        world.failure = KeyError("a bug of ours")
        await world.clock.pass_by(EVERY_MS)
        assert "a bug of ours" not in str(await world.picture())
        assert world.bugs == ["a look of the console: 'a bug of ours'"]
        world.failure = None
        await world.clock.pass_by(EVERY_MS)
        assert "shards" in await world.picture()
    await world.collector.close()


class Viewer:
    """A connection: what was sent over it, and whether it takes more."""

    def __init__(
        self, world: World, last_event_id: str = "", patience_s: float = PATIENCE_S
    ) -> None:
        self.sent: list[bytes] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.gone = asyncio.Event()
        self.allowed = True
        self.served = asyncio.create_task(
            serve_stream(
                self.receive,
                self.send,
                world.collector,
                life=LIFE,
                last_event_id=last_event_id,
                still_allowed=lambda: self.allowed,
                patience_s=patience_s,
            )
        )

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self.takes.wait()
            self.sent.append(message["body"])

    def events(self) -> list[tuple[str, Any]]:
        """Ids and data of pictures."""
        found = []
        for block in b"".join(self.sent).decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if fields.get("event") == "picture":
                found.append((fields["id"], json.loads(fields["data"])))
        return found


async def test_a_slow_viewer_finds_the_newest_picture_and_all_rows_of_the_time_between() -> None:
    world = World()
    viewer = Viewer(world)
    await world.clock.pass_by(EVERY_MS)
    seen = len(viewer.events())
    viewer.takes.clear()
    await world.clock.pass_by(9 * EVERY_MS, steps=9)
    viewer.takes.set()
    await world.clock.pass_by(1)
    late = viewer.events()[seen:]
    assert len(late) == 2  # what was on its way, and the newest
    assert late[-1][1]["picture"]["at_ms"] == world.clock.now().wall_ms - 1
    rows = [row[0] for _, event in viewer.events() for row in event["history"]["rows"]]
    assert rows == sorted(set(rows))
    assert len(rows) == 11
    viewer.gone.set()
    await viewer.served
    assert world.collector.viewers == 0
    await world.collector.close()


async def test_a_viewer_that_comes_back_is_sent_what_is_new_and_a_stranger_all() -> None:
    world = World()
    viewer = Viewer(world)
    await world.clock.pass_by(5 * EVERY_MS, steps=5)
    number, _ = viewer.events()[2]
    back, stranger = Viewer(world, number), Viewer(world, "78-3")
    await world.clock.pass_by(1)
    assert len(back.events()[0][1]["history"]["rows"]) == 3
    assert len(stranger.events()[0][1]["history"]["rows"]) == 6
    await world.collector.close()
    await asyncio.gather(viewer.served, back.served, stranger.served)
    assert viewer.sent[-1] == b"event: end\ndata: {}\n\n"


async def test_a_session_that_is_over_ends_its_stream() -> None:
    world = World()
    viewer = Viewer(world)
    await world.clock.pass_by(EVERY_MS)
    viewer.allowed = False
    await world.clock.pass_by(2 * EVERY_MS, steps=2)
    await viewer.served
    assert viewer.sent[-1].startswith(b"event: end")
    await world.collector.close()


async def test_a_look_is_not_awaited_by_the_end() -> None:
    world = World()
    viewer = Viewer(world)
    await world.collector.close()
    await viewer.served
    assert viewer.events() == []
    with world.collector.watching():
        assert await world.collector.newer(0) is None
    await world.collector.close()


@pytest.mark.parametrize(
    ("last_event_id", "revision"),
    [("77-12", 12), ("77-0", 0), ("78-12", 0), ("", 0), ("77-", 0), ("77-1x", 0), ("77-٣", 0),
     ("-1", 0), ("77-12\n", 0), ("7" * 400, 0)],
)  # fmt: skip
async def test_only_our_own_ids_resume(last_event_id: str, revision: int) -> None:
    assert resumed_at(last_event_id, LIFE) == revision


async def test_a_viewer_that_takes_nothing_is_let_go() -> None:
    world = World()
    viewer = Viewer(world, patience_s=0.01)
    viewer.takes.clear()
    await viewer.served
    assert (world.collector.viewers, viewer.sent) == (0, [])
    await world.collector.close()
