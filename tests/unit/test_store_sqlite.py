"""What only the SQLite store has: rounds, lanes, one process per file, errors and what they say."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest
from timeball.errors import FailedPrecondition, Internal, OutcomeUnknown, StoreUnavailable

from tests.support.store_worlds import MINUTE, SHARD, event, task
from timeball_server.store.sqlite.lane import Lane, Outcome, Work
from timeball_server.store.sqlite.rounds import commit_round, read_round
from timeball_server.store.sqlite.store import SqliteStore


class Scripted(sqlite3.Connection):
    """A connection on which chosen statements fail: before they run, or after."""

    fails_before: str = ""
    fails_after: str = ""

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if sql == self.fails_before:
            raise sqlite3.OperationalError(f"scripted before {sql}")
        cursor = super().execute(sql, *arguments)  # type: ignore[arg-type]
        if sql == self.fails_after:
            raise sqlite3.OperationalError(f"scripted after {sql}")
        return cursor


@pytest.fixture
def database() -> Iterator[Scripted]:
    """A database with one table."""
    with closing(sqlite3.connect(":memory:", isolation_level=None, factory=Scripted)) as connection:
        connection.execute("CREATE TABLE n (x INTEGER PRIMARY KEY) STRICT")
        yield connection


def insert(value: object) -> Work:
    return lambda connection: connection.execute("INSERT INTO n VALUES (?)", (value,)).lastrowid


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT x FROM n ORDER BY x")]


def kinds(outcomes: list[Outcome]) -> list[type | None]:
    return [None if outcome.error is None else type(outcome.error) for outcome in outcomes]


# -- rounds


def test_a_round_is_one_commit(database: Scripted) -> None:
    statements: list[str] = []
    database.set_trace_callback(statements.append)
    outcomes = commit_round(database, [insert(n) for n in (3, 1, 2)])
    assert [outcome.value for outcome in outcomes] == [3, 1, 2]
    assert [text for text in statements if "INSERT" not in text] == ["BEGIN IMMEDIATE", "COMMIT"]


def test_one_bad_call_fails_alone(database: Scripted) -> None:
    outcomes = commit_round(database, [insert(n) for n in (1, 2, 1, 3)])
    assert kinds(outcomes) == [None, None, Internal, None]
    assert numbers(database) == [1, 2, 3]


@pytest.mark.parametrize("value", ["text", None, 2**80, "\ud800"])
def test_a_value_that_cannot_be_stored_is_our_mistake(database: Scripted, value: object) -> None:
    database.execute("CREATE TABLE m (x INTEGER NOT NULL) STRICT")

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO m VALUES (?)", (value,))

    assert kinds(commit_round(database, [insert(1), work])) == [None, Internal]
    assert kinds(read_round(database, [work])) == [Internal]
    assert not database.in_transaction


def test_a_round_that_cannot_begin_wrote_nothing(database: Scripted) -> None:
    database.fails_before = "BEGIN IMMEDIATE"
    outcomes = commit_round(database, [insert(1), insert(2)])
    assert kinds(outcomes) == [StoreUnavailable, StoreUnavailable]
    assert numbers(database) == []


@pytest.mark.parametrize("at", ["fails_before", "fails_after"])
def test_a_commit_that_fails_is_unknown(database: Scripted, at: str) -> None:
    setattr(database, at, "COMMIT")
    outcomes = commit_round(database, [insert(1), insert(2)])
    assert kinds(outcomes) == [OutcomeUnknown, OutcomeUnknown]
    assert numbers(database) == ([] if at == "fails_before" else [1, 2])
    setattr(database, at, "")
    # The next round starts afresh, and a resend finds what stands.
    assert kinds(commit_round(database, [insert(3)])) == [None]


def test_reads_stand_for_themselves(database: Scripted) -> None:
    commit_round(database, [insert(1)])

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM nowhere")

    outcomes = read_round(database, [numbers, broken, numbers])
    assert kinds(outcomes) == [None, StoreUnavailable, None]
    assert outcomes[0].value == outcomes[2].value == [1]


# -- lanes


@contextmanager
def in_memory() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE n (x INTEGER PRIMARY KEY) STRICT")
        yield connection


@pytest.mark.asyncio
async def test_what_waits_during_a_round_is_the_next_round() -> None:
    sizes: list[int] = []
    begun, go_on = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def counting_round(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
        sizes.append(len(works))
        return commit_round(connection, works)

    def hold(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(timeout=30)

    lane = Lane("test", in_memory, counting_round)
    await lane.open()
    first = lane.submit(hold)
    await begun.wait()
    rest = [lane.submit(insert(n)) for n in range(20)]
    go_on.set()
    await asyncio.gather(first, *rest)
    assert sizes == [1, 20]
    await lane.close()


@pytest.mark.asyncio
async def test_work_of_a_caller_that_gave_up_harms_nobody() -> None:
    lane = Lane("test", in_memory, commit_round)
    await lane.open()
    given_up = lane.submit(insert(1))
    given_up.cancel()
    await lane.submit(insert(2))
    assert 2 in await lane.submit(numbers)
    await lane.close()


@pytest.mark.asyncio
async def test_a_lane_whose_thread_dies_leaves_nobody_waiting() -> None:
    begun, go_on = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def dying_round(_: sqlite3.Connection, __: object) -> list[Outcome]:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(timeout=30)
        raise sqlite3.OperationalError("disk I/O error")

    lane = Lane("test", in_memory, dying_round)
    await lane.open()
    in_hand = lane.submit(insert(1))
    await begun.wait()
    queued = lane.submit(insert(2))
    go_on.set()
    with pytest.raises(OutcomeUnknown, match="went away"):
        await in_hand
    with pytest.raises(StoreUnavailable, match="nothing was written"):
        await queued
    await lane.close()
    with pytest.raises(StoreUnavailable):
        lane.submit(insert(3))


@pytest.mark.asyncio
async def test_a_full_lane_refuses() -> None:
    go_on = Event()
    lane = Lane("test", in_memory, commit_round, max_queued=3)
    await lane.open()

    def hold(connection: sqlite3.Connection) -> list[int]:
        assert go_on.wait(timeout=30)
        return numbers(connection)

    accepted = [lane.submit(hold)]
    with pytest.raises(StoreUnavailable, match="queue is full"):
        accepted.extend(lane.submit(numbers) for _ in range(5))
    go_on.set()
    await asyncio.gather(*accepted)
    await lane.close()


# -- files


@pytest.mark.asyncio
async def test_a_file_serves_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "timeball.sqlite3"
    store = await SqliteStore.open(path)
    with pytest.raises(FailedPrecondition, match="Another process is using"):
        await SqliteStore.open(path)
    await store.append([event(task(1))])
    await store.close()
    again = await SqliteStore.open(path)
    assert await again.read_journals([task(1)]) == {task(1): [event(task(1))]}
    await again.close()


def permissions(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.asyncio
async def test_others_cannot_read_the_file(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "timeball.sqlite3")
    await store.append([event(task(1))])
    modes = permissions(tmp_path)
    assert set(modes.values()) == {0o600}
    assert "timeball.sqlite3-wal" in modes
    await store.close()


def pragma(name: str) -> Work:
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.asyncio
async def test_commits_are_durable(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "timeball.sqlite3")
    assert await store.writer.submit(pragma("synchronous")) == 2
    assert await store.writer.submit(pragma("journal_mode")) == "wal"
    await store.close()


@pytest.mark.asyncio
async def test_a_copy_taken_while_open_has_every_acknowledged_row(tmp_path: Path) -> None:
    # What a killed process leaves behind: the file and its log, without a clean close.
    folder, copy = tmp_path / "live", tmp_path / "copy"
    store = await SqliteStore.open(folder / "timeball.sqlite3")
    for number in range(30):
        await store.append([event(task(number))])
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    await store.close()
    revived = await SqliteStore.open(copy / "timeball.sqlite3")
    assert len(await revived.read_bucket_journals(MINUTE, SHARD, None, 100)) == 30
    await revived.close()


@pytest.mark.asyncio
async def test_a_locked_file_refuses_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "timeball.sqlite3"
    store = await SqliteStore.open(path, busy_timeout_ms=10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="database is locked"):
            await store.append([event(task(1))])
        assert await store.read_journals([task(1)]) == {}
        other.execute("ROLLBACK")
    await store.append([event(task(1))])
    await store.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [b"not a database at all" * 99, b""])
async def test_a_foreign_file_is_refused_or_made_new(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "timeball.sqlite3"
    path.write_bytes(content)
    if content:
        with pytest.raises(StoreUnavailable, match="not a database"):
            await SqliteStore.open(path)
        assert path.read_bytes() == content
    else:
        await (await SqliteStore.open(path)).close()


@pytest.mark.asyncio
async def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await SqliteStore.open(tmp_path / "file" / "timeball.sqlite3")


@pytest.mark.asyncio
async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "timeball.sqlite3"
    await (await SqliteStore.open(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(FailedPrecondition, match="schema version 99"):
        await SqliteStore.open(path)
