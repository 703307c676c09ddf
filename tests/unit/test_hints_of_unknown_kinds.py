"""Hints with ids that only a newer version knows are told apart before anything is read."""

from __future__ import annotations

from dataclasses import replace

from scheduler_node.paging import known_kinds
from tests.support.store_worlds import due, task
from timeball_server.core.ids import TaskId

KNOWN = [due(task(number)) for number in (1, 2)]
NEWER = replace(due(task(3)), task_id=TaskId("0z" + task(3)[2:]))


def test_a_page_of_known_ids_stays_as_it_is() -> None:
    assert known_kinds(KNOWN) == (KNOWN, ())
    assert known_kinds([]) == ([], ())


def test_what_cannot_be_read_is_told_apart_and_the_order_stays() -> None:
    assert known_kinds([KNOWN[0], NEWER, KNOWN[1]]) == (KNOWN, [NEWER])
