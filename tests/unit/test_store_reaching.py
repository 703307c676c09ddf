"""Which tasks one request of the Cassandra store reads: each once, nothing else, within bounds."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from tests.support.store_worlds import task
from timeball_server.core.ids import Bucket, Minute, ShardId, TaskId
from timeball_server.store.cassandra.reaching import LOOKS_AT_ONCE, Reach, reaches
from timeball_server.store.keys import home_bucket

IDS = st.builds(
    task,
    st.integers(0, 500),
    part=st.sampled_from([0, 0, 0, 1]),
    minute=st.sampled_from([7, 8, 9]) | st.integers(0, 100),
    shard=st.integers(0, 40),
)


def combinations(reach: Reach) -> set[Bucket]:
    """What the database reads for a request with these sides."""
    minutes, shards, parts = zip(
        *((home.minute, home.shard, home.part) for home in reach.homes), strict=True
    )
    return {
        Bucket(Minute(minute), ShardId(shard), part)
        for minute, shard, part in product(minutes, shards, parts)
    }


@given(st.lists(IDS, max_size=400))
def test_each_task_is_read_once_and_no_bucket_that_has_none_of_them(wanted: list[TaskId]) -> None:
    found = reaches(wanted)
    assert sorted(each for reach in found for each in reach.tasks) == sorted(set(wanted))
    for reach in found:
        assert 0 < len(reach.homes) * len(reach.tasks) <= LOOKS_AT_ONCE
        assert combinations(reach) == set(reach.homes) == set(map(home_bucket, reach.tasks))


def test_tasks_of_a_minute_or_of_a_shard_are_few_requests() -> None:
    of_minute = [task(number, shard=number % 16) for number in range(100)]
    assert len(reaches(of_minute)) == 4
    of_two = [task(number, minute=7 + number % 2, shard=number // 2 % 16) for number in range(100)]
    assert len(reaches(of_two)) == 6
    of_all_times = [task(number, minute=number, shard=number % 16) for number in range(50)]
    assert len(reaches(of_all_times)) == 16
    of_parts = [task(number, part=number) for number in range(10)]
    assert len(reaches(of_parts)) == 1


def test_a_bucket_of_many_tasks_is_several_requests() -> None:
    found = reaches([task(number) for number in range(2 * LOOKS_AT_ONCE + 1)])
    assert [len(reach.tasks) for reach in found] == [LOOKS_AT_ONCE, LOOKS_AT_ONCE, 1]


def test_nothing_is_no_request() -> None:
    assert reaches([]) == []
