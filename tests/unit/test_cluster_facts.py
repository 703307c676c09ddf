"""What a process expects of its cluster, and what it says when it found another one."""

from __future__ import annotations

import pytest
from timeball.errors import InvalidRequest

from timeball_server.cluster.settings import SchedulerNodeSettings
from timeball_server.runtime.config import Sources, load
from timeball_server.store.cassandra.config import Expected
from timeball_server.store.cassandra.expected import differences
from timeball_server.store.cassandra.migrations import Facts

HERE = Facts(replication={"class": "NetworkTopologyStrategy", "dc": "3"}, shard_count=64)


@pytest.mark.parametrize(
    "expected",
    [
        Expected(),
        Expected(cluster_name="bank"),
        Expected(shard_count=64),
        Expected(replicas={"dc": 3}),
        Expected(cluster_name="bank", shard_count=64, replicas={"dc": 3}),
    ],
)
def test_what_stands_there_is_accepted(expected: Expected) -> None:
    assert differences(expected, "bank", HERE) == []


def test_every_difference_is_named() -> None:
    other = Expected(cluster_name="shop", shard_count=16, replicas={"dc": 1, "far": 1})
    assert differences(other, "bank", HERE) == [
        "the database is 'bank', not 'shop'",
        "it has 64 shards, not 16",
        "the keyspace has copies dc=3, not dc=1, far=1",
    ]


@pytest.mark.parametrize(
    "flag", [("cluster.replicas", "dc=0"), ("cluster.replicas", "dc"), ("cluster.shards", "-1")]
)
def test_expectations_that_cannot_be_meant_are_refused(flag: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=flag[0]):
        load(SchedulerNodeSettings, Sources(flags=dict([flag])))
