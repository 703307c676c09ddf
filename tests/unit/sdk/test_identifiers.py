from __future__ import annotations

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st
from timeball._identifiers import new_request_id


@given(st.integers(0, 2**48 - 1), st.integers())
def test_it_is_a_version_7_uuid_that_begins_with_the_time(wall_ms: int, seed: int) -> None:
    made = uuid.UUID(new_request_id(wall_ms, random.Random(seed)))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == wall_ms


@given(st.integers(0, 2**48 - 2))
def test_ids_sort_by_time(wall_ms: int) -> None:
    source = random.Random(1)
    assert new_request_id(wall_ms, source) < new_request_id(wall_ms + 1, source)


def test_ids_of_one_instant_differ() -> None:
    source = random.Random(1)
    assert len({new_request_id(1, source) for _ in range(1000)}) == 1000
