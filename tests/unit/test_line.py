"""What callers ask waits in a line: bounded pieces, first come first served, too old = refused."""

from __future__ import annotations

from scheduler_node.line import MAX_STEP_COMMANDS, MAX_WAIT_MS, CommandLine
from timeball_server.core.commands import CreateTask, ReadTask
from timeball_server.core.engine.events import CommandArrived
from timeball_server.core.ids import Minute, ShardId, TaskId
from timeball_server.core.model import TaskSpec

SPEC = TaskSpec(namespace="shop", owner="clerk", handler="billing.charge")


def creation(token: int, *, resend: bool = False) -> CommandArrived:
    command = CreateTask(
        minute=Minute(1),
        shard=ShardId(0),
        unique=b"u",
        spec=SPEC,
        due_ms=None,
        request_id="r",
        actor="clerk",
        resend=resend,
    )
    return CommandArrived(token, command)


def read(token: int) -> CommandArrived:
    return CommandArrived(token, ReadTask(task_id=TaskId("t"), namespace="shop"))


def tokens(piece: list[CommandArrived]) -> list[int]:
    return [each.token for each in piece]


def test_pieces_are_bounded_and_in_order() -> None:
    line = CommandLine()
    count = 2 * MAX_STEP_COMMANDS + 1
    for token in range(count):
        line.add(creation(token), 0)
    seen = []
    while line:
        piece, too_old = line.next_piece(0)
        assert len(piece) <= MAX_STEP_COMMANDS
        assert too_old == []
        seen += tokens(piece)
    assert seen == list(range(count))


def test_a_creation_that_waited_too_long_is_refused_before_it_is_begun() -> None:
    line = CommandLine()
    line.add(creation(1), 0)
    line.add(creation(2), MAX_WAIT_MS)
    piece, too_old = line.next_piece(MAX_WAIT_MS + 1)
    assert (tokens(piece), tokens(too_old)) == ([2], [1])
    assert line.refused == 1


def test_repetitions_and_everything_else_are_never_refused() -> None:
    line = CommandLine()
    line.add(creation(1, resend=True), 0)
    line.add(read(2), 0)
    piece, too_old = line.next_piece(10 * MAX_WAIT_MS)
    assert (tokens(piece), too_old) == ([1, 2], [])


def test_what_is_refused_makes_no_step_smaller() -> None:
    line = CommandLine()
    for token in range(1_000):
        line.add(creation(token), 0)
    for token in range(1_000, 1_010):
        line.add(creation(token), MAX_WAIT_MS)
    piece, too_old = line.next_piece(MAX_WAIT_MS + 1)
    assert (len(piece), len(too_old)) == (10, 1_000)


def test_whoever_has_gone_is_not_taken_in() -> None:
    line = CommandLine()
    for token in range(3):
        line.add(read(token), 0)
    line.forget(1)
    line.forget(7)
    piece, too_old = line.next_piece(0)
    assert (tokens(piece), tokens(too_old)) == ([0, 2], [])
    line.add(read(7), 0)
    assert tokens(line.next_piece(0)[0]) == [7]


def test_those_who_have_gone_take_no_places_of_a_piece() -> None:
    line = CommandLine()
    for token in range(2 * MAX_STEP_COMMANDS):
        line.add(read(token), 0)
    for token in range(MAX_STEP_COMMANDS):
        line.forget(token)
    assert tokens(line.next_piece(0)[0]) == [*range(MAX_STEP_COMMANDS, 2 * MAX_STEP_COMMANDS)]
    assert not line
