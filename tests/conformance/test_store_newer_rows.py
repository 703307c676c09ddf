"""The contract of ports/store.py over every adapter: events that a newer version wrote.

They are neither errors nor absent: each comes back as one that cannot be read, with its key and
its links, wherever a journal or a head is read.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tests.support.store_worlds import MINUTE, SHARD, Columns, World, event, task
from timeball_server.core.ids import Epoch, decode_id
from timeball_server.core.journal import (
    EventKind,
    NoteDetail,
    SpecDetail,
    State,
    fold,
    unreadable_event,
)
from timeball_server.core.model import TaskSpec
from timeball_server.ports.store import Store

pytestmark = pytest.mark.asyncio
FIRST = event(task(1))
NEWER = replace(event(task(1), seq=2, epoch=3, kind=EventKind.UPDATED), prev_epoch=Epoch(1))
OTHER = event(task(2))
SPEC = TaskSpec(namespace="shop", owner="clerk", handler="charge")


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"kind": "FROZEN"}, id="kind"),
        pytest.param({"state": "FROZEN"}, id="state"),
        pytest.param({"detail": msgspec.msgpack.encode(("freeze", {}))}, id="detail"),
        pytest.param({"detail": msgspec.msgpack.encode(("spec", {}))}, id="missing field"),
        pytest.param({"detail": msgspec.msgpack.encode(("spec", 2, {}))}, id="format"),
        pytest.param({"detail": b"\xc1"}, id="no detail at all"),
    ],
)
async def test_an_event_of_a_newer_version_comes_back_as_one_that_cannot_be_read(
    store_world: World, store_client: Store, columns: Columns
) -> None:
    await store_client.append([FIRST, OTHER])
    await store_world.write_newer(store_client, NEWER, columns)
    journals = await store_client.read_journals([task(1), task(2)])
    assert journals[task(2)] == [OTHER]
    first, unread = journals[task(1)]
    assert first == FIRST
    assert (unread.kind, unread.state) == (EventKind.UNREADABLE, State.UNREADABLE)
    assert (unread.epoch, unread.seq, unread.prev_epoch) == (NEWER.epoch, 2, FIRST.epoch)
    assert (unread.at_ms, unread.alarm, unread.run) == (NEWER.at_ms, None, None)
    assert isinstance(unread.detail, NoteDetail)
    history = fold(journals[task(1)])
    assert history is not None
    assert (history.chain, unreadable_event(history)) == ((FIRST, unread), unread)
    assert await store_client.read_heads([task(1)]) == {task(1): unread}
    assert list(await store_client.read_bucket_journals(MINUTE, SHARD, None, 9)) == [unread, OTHER]
    assert await store_client.find_journal(decode_id(task(1)).home, decode_id(task(1)).unique) == [
        FIRST,
        unread,
    ]


async def test_a_field_that_may_be_ignored_is_ignored(
    store_world: World, store_client: Store
) -> None:
    written = msgspec.msgpack.encode(("spec", {"spec": SPEC, "colour": "red"}))
    await store_world.write_newer(store_client, FIRST, {"detail": written})
    (row,) = (await store_client.read_journals([task(1)]))[task(1)]
    assert row == replace(FIRST, detail=SpecDetail(spec=SPEC))
