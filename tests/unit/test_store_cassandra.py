"""The pure parts of the Cassandra store: batches, timestamps, what errors mean, plans."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    OperationTimedOut,
    Unauthorized,
    Unavailable,
    WriteTimeout,
    WriteType,
)
from cassandra import InvalidRequest as RefusedByServer
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.cqltypes import (
    BytesType,
    Int32Type,
    ListType,
    LongType,
    UTF8Type,
    VarcharType,
)
from cassandra.policies import RetryPolicy
from cassandra.protocol import (
    ConfigurationException,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
)
from cassandra.query import UNSET_VALUE
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import (
    FailedPrecondition,
    Internal,
    InvalidRequest,
    OutcomeUnknown,
    StoreUnavailable,
    TimeballError,
)

from tests.support.store_worlds import (
    MINUTE,
    START_MS,
    by_owner,
    by_state,
    dead_letter,
    due,
    event,
    rich_events,
    task,
    verdict,
)
from timeball_server.core.journal import Row, State
from timeball_server.store.cassandra.config import CassandraConfig
from timeball_server.store.cassandra.driver import profiles
from timeball_server.store.cassandra.encoding import MISTAKES, encode, encoder_of
from timeball_server.store.cassandra.failures import Effect, meaning
from timeball_server.store.cassandra.migrations import (
    Facts,
    Migration,
    Wishes,
    packaged_migrations,
    plan,
)
from timeball_server.store.cassandra.packing import MAX_BATCH_BYTES, MAX_BATCH_ROWS, pack
from timeball_server.store.cassandra.rows import Write, event_from, event_values, write_of
from timeball_server.store.cassandra.statements import STATEMENTS, Level

CONFIG = CassandraConfig(contact_points=("127.0.0.1",), port=1)

# -- statements

CONDITIONAL_TABLES = {"shards", "layout", "names", "namespaces", "users", "api_keys", "limits"}
TABLE = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM|FROM) (\w+)")


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_table_is_written_both_ways(name: str) -> None:
    statement = STATEMENTS[name]
    found = TABLE.search(statement.cql)
    assert found is not None
    is_write = not statement.cql.startswith("SELECT")
    is_conditional = " IF " in statement.cql
    assert is_conditional == (is_write and found[1] in CONDITIONAL_TABLES)
    assert is_conditional == (statement.level is Level.CONDITIONAL) == (not statement.is_idempotent)
    assert ("USING TIMESTAMP ?" in statement.cql) == (is_write and not is_conditional)


def test_only_listings_are_read_from_one_replica() -> None:
    weak = {each.cql.split(" FROM ")[1].split()[0] for each in STATEMENTS.values()
            if each.level is Level.LISTING}  # fmt: skip
    assert weak == {"tasks_by_owner", "tasks_by_state", "dead_letters", "audit"}


@pytest.mark.parametrize("level", Level)
def test_no_profile_retries(level: Level) -> None:
    policy = profiles(CONFIG)[level.value].retry_policy
    rethrow = (RetryPolicy.RETHROW, None)
    one = ConsistencyLevel.ONE
    assert policy.on_read_timeout(None, one, 2, 2, False, 0) == rethrow
    assert policy.on_write_timeout(None, one, WriteType.BATCH_LOG, 2, 0, 0) == rethrow
    assert policy.on_unavailable(None, one, 2, 1, 0) == rethrow
    assert policy.on_request_error(None, one, ConnectionShutdown("gone"), 0) == rethrow


def test_consistency_is_by_level() -> None:
    found = {name: each.consistency_level for name, each in profiles(CONFIG).items()}
    assert found == {
        "plain": ConsistencyLevel.LOCAL_QUORUM,
        "conditional": ConsistencyLevel.LOCAL_QUORUM,
        "serial": ConsistencyLevel.LOCAL_SERIAL,
        "listing": ConsistencyLevel.LOCAL_ONE,
    }
    conditional = profiles(CONFIG)["conditional"]
    assert conditional.serial_consistency_level == ConsistencyLevel.LOCAL_SERIAL


@pytest.mark.parametrize("keyspace", ["", "Big", "a b", "1a", "a;drop", "x" * 49])
def test_a_keyspace_that_needs_quotes_is_refused(keyspace: str) -> None:
    with pytest.raises(InvalidRequest):
        replace(CONFIG, keyspace=keyspace)


# -- rows


def test_an_event_comes_back_from_its_values() -> None:
    for each in rich_events(task(1)):
        assert event_from(event_values(each)) == each


STAMPS: list[tuple[Row, int]] = [
    (event(task(1)), MINUTE * 60_000_000),
    (due(task(1), START_MS + 59_999), MINUTE * 60_000_000),
    (due(task(1), START_MS + 61_000, minute=MINUTE + 1), (MINUTE + 1) * 60_000_000),
    (by_owner(1, START_MS + 5), (START_MS + 5) * 1_000),
    (by_state(1, START_MS + 5), (START_MS + 5) * 1_000),
    (dead_letter(1, START_MS + 5), (START_MS + 5) * 1_000),
    (verdict(1, START_MS + 5), (START_MS + 5) * 1_000),
]


@pytest.mark.parametrize(("row", "stamp_us"), STAMPS)
def test_a_timestamp_is_the_instant_that_the_partition_is_named_by(row: Row, stamp_us: int) -> None:
    write = write_of(row)
    assert write.values[-1] == stamp_us
    assert write == write_of(row)
    assert STATEMENTS[write.statement].cql.count("?") == len(write.values)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Int32Type, -(2**31)),
        (LongType, 2**62),
        (UTF8Type, "é"),
        (VarcharType, "é"),
        (UTF8Type, State.PENDING),
        (BytesType, bytes(range(256))),
        (ListType.apply_parameters([UTF8Type]), ["a", "é"]),
        (ListType.apply_parameters([Int32Type]), [0, 7]),
    ],
)
def test_values_are_encoded_as_the_driver_does(kind: Any, value: object) -> None:
    assert encode([encoder_of(kind, 5)], [value]) == [kind.serialize(value, 5)]


def test_absent_values_are_unset_and_not_null() -> None:
    encoders = [encoder_of(kind, 5) for kind in (Int32Type, UTF8Type, BytesType)]
    assert encode(encoders, [None, "", None]) == [UNSET_VALUE, b"", UNSET_VALUE]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Int32Type, [2**31]),
        (LongType, [2**63]),
        (Int32Type, ["1"]),
        (UTF8Type, [1]),
        (UTF8Type, [b"x"]),
        (BytesType, ["x"]),
        (BytesType, [3]),
        (ListType.apply_parameters([UTF8Type]), [[1]]),
        (Int32Type, []),
        (Int32Type, [1, 2]),
    ],
)
def test_a_value_that_does_not_fit_is_a_mistake(kind: Any, values: list[object]) -> None:
    with pytest.raises(MISTAKES):
        encode([encoder_of(kind, 5)], values)


def test_journal_and_hint_of_one_bucket_are_one_partition() -> None:
    assert write_of(event(task(1))).partition == write_of(due(task(1))).partition
    assert write_of(event(task(1))).partition != write_of(due(task(1), part=1)).partition
    assert write_of(by_state(1)).partition != write_of(by_owner(1)).partition


# -- batches

WRITES = st.lists(
    st.builds(
        lambda partition, size: Write("add_event", (), (partition,), size),
        st.integers(0, 12),
        st.integers(1, 60),
    ),
    max_size=40,
)


@given(WRITES, st.integers(1, 8), st.integers(1, 200))
def test_batches_hold_everything_once_within_the_caps(
    writes: list[Write], max_rows: int, max_bytes: int
) -> None:
    batches = [*pack(writes, max_rows, max_bytes)]
    sent = [id(write) for batch in batches for write in batch]
    assert sorted(sent) == sorted(map(id, writes))
    for batch in batches:
        assert batch
        if len({write.partition for write in batch}) > 1:
            assert len(batch) <= max_rows
            assert sum(write.size_bytes for write in batch) <= max_bytes
    for partition in {write.partition for write in writes}:
        assert sum(any(w.partition == partition for w in batch) for batch in batches) == 1


@given(WRITES, st.integers(1, 8))
def test_no_two_neighbours_would_have_fitted_into_one(writes: list[Write], max_rows: int) -> None:
    batches = [*pack(writes, max_rows, 10**9)]
    for batch, after in pairwise(batches):
        first = after[0].partition
        assert len(batch) + sum(write.partition == first for write in after) > max_rows


def test_the_caps_are_those_of_the_servers() -> None:
    assert (MAX_BATCH_ROWS, MAX_BATCH_BYTES) == (50, 40_960)
    big = [write_of(replace(by_owner(n, START_MS + n * 86_400_000), handler="h" * 200))
           for n in range(200)]  # fmt: skip
    assert [len(batch) for batch in pack(big)] == [50] * 4


# -- what errors mean

ANY = tuple(Effect)
WRITING = (Effect.ONE_PARTITION, Effect.MANY_PARTITIONS)
UNAVAILABLE = Unavailable("no", consistency=6, required_replicas=2, alive_replicas=1)
MEANINGS: list[tuple[BaseException, tuple[Effect, ...], type[TimeballError]]] = [
    (NoHostAvailable("none", {}), ANY, StoreUnavailable),
    (IsBootstrappingErrorMessage(0x1002, "joining", None), ANY, StoreUnavailable),
    (UNAVAILABLE, (Effect.READ, Effect.ONE_PARTITION), StoreUnavailable),
    (UNAVAILABLE, (Effect.MANY_PARTITIONS,), OutcomeUnknown),
    (OperationTimedOut({}, None), WRITING, OutcomeUnknown),
    (WriteTimeout("late", write_type=WriteType.CAS), WRITING, OutcomeUnknown),
    (ConnectionShutdown("gone"), WRITING, OutcomeUnknown),
    (OverloadedErrorMessage(0x1001, "hints", None), WRITING, OutcomeUnknown),
    (ServerError(0x0000, "bug", None), WRITING, OutcomeUnknown),
    (RuntimeError("never seen before"), WRITING, OutcomeUnknown),
    (OperationTimedOut({}, None), (Effect.READ,), StoreUnavailable),
    (ConnectionShutdown("gone"), (Effect.READ,), StoreUnavailable),
    (RefusedByServer("no such table"), ANY, Internal),
    (ConfigurationException(0x2300, "no", None), ANY, Internal),
    (Unauthorized("no"), ANY, FailedPrecondition),
    (AuthenticationFailed("no"), ANY, FailedPrecondition),
    (StoreUnavailable("closed"), ANY, StoreUnavailable),
]


@pytest.mark.parametrize(
    ("error", "effect", "kind"),
    [(error, effect, kind) for error, effects, kind in MEANINGS for effect in effects],
    ids=lambda value: getattr(value, "name", type(value).__name__),
)
def test_what_an_error_means(
    error: BaseException, effect: Effect, kind: type[TimeballError]
) -> None:
    assert type(meaning(error, effect)) is kind


# -- plans

FIRST = Migration(1, "0001_first.cql", "CREATE TABLE IF NOT EXISTS a (x int PRIMARY KEY);")
SECOND = Migration(2, "0002_second.cql", "-- why; and how\nALTER TABLE a ADD IF NOT EXISTS b int;")
HERE = {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc": "3"}
NEW = Wishes(replicas={"dc": 3}, shard_count=16)
DONE = Facts(replication=HERE, checksums={1: FIRST.checksum, 2: SECOND.checksum}, shard_count=16)


def test_a_new_cluster_needs_everything() -> None:
    wanted = plan(Facts(), NEW, [FIRST, SECOND])
    assert (wanted.keyspace, wanted.migrations, wanted.shard_count) == (HERE, (FIRST, SECOND), 16)
    assert len(wanted.lines) == 4


def test_a_finished_cluster_needs_nothing() -> None:
    for wishes in (NEW, Wishes()):
        assert plan(DONE, wishes, [FIRST, SECOND]).lines == []


def test_only_missing_files_are_applied() -> None:
    facts = replace(DONE, checksums={1: FIRST.checksum})
    assert plan(facts, Wishes(), [FIRST, SECOND]).migrations == (SECOND,)


CHANGED = replace(FIRST, text=FIRST.text + " ")
Refused = tuple[Facts, Wishes, list[Migration], str]
REFUSED: list[Refused] = [
    (DONE, Wishes(), [FIRST], "schema version 2, this program knows up to 1"),
    (DONE, Wishes(), [CHANGED, SECOND], "Schema file 1 was changed"),
    (DONE, Wishes(shard_count=8), [FIRST, SECOND], "made with 16 shards"),
    (DONE, Wishes(replicas={"dc": 1}), [FIRST, SECOND], "ALTER KEYSPACE"),
    (Facts(), Wishes(shard_count=8), [FIRST], "how many copies"),
    (Facts(), Wishes(replicas={"dc": 1}), [FIRST], "number of shards"),
]


@pytest.mark.parametrize(("facts", "wishes", "files", "words"), REFUSED)
def test_what_does_not_fit_is_refused(
    facts: Facts, wishes: Wishes, files: list[Migration], words: str
) -> None:
    with pytest.raises(FailedPrecondition, match=words):
        plan(facts, wishes, files)


def test_comments_are_no_statements() -> None:
    assert SECOND.statements == ("ALTER TABLE a ADD IF NOT EXISTS b int",)


def test_every_packaged_statement_can_be_repeated() -> None:
    statements = [text for each in packaged_migrations() for text in each.statements]
    assert len(statements) == 24
    assert [text for text in statements if "IF NOT EXISTS" not in text] == []
