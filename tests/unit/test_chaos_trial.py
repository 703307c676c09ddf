"""The judge of aimed kills refuses records that do not show everything that they claim."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos.campaign import Round
from tests.support.chaos.records import Ack, Event, Evidence, Recorder, SessionLoss, losses_in
from tests.support.chaos.trial import Finding, Trial
from tests.support.chaos.wired import SINK
from tests.support.start_logs import Start
from timeball_server.core.ids import Bucket, IdParts, Minute, ShardId, encode_id

TASK = encode_id(IdParts(Bucket(Minute(29_000_000), ShardId(3)), bytes(16)))
DUE_MS = 1_000_000
KILLED_MS = DUE_MS + 500
EXECUTOR, INCARNATION = "executor-1", 40

ACK = Ack(
    task_id=TASK,
    number=7,
    due_ms=DUE_MS,
    once=False,
    via="127.0.0.1:1",
    asked_ms=DUE_MS - 50,
    acked_ms=DUE_MS - 20,
    resends=0,
)
FIRST = Start(
    task_id=TASK,
    attempt=1,
    epoch=5,
    due_ms=DUE_MS,
    started_ms=DUE_MS + 450,
    executor=EXECUTOR,
)
SECOND = replace(FIRST, attempt=2, started_ms=DUE_MS + 5_000, executor="executor-2")


def event(seq: int, kind: str, state: str, at_ms: int, **more: Any) -> Event:
    facts = {"epoch": 5, "attempt": 1, "executor": EXECUTOR, "incarnation": INCARNATION, **more}
    return Event(task_id=TASK, seq=seq, kind=kind, state=state, at_ms=at_ms, **facts)


CREATED = event(1, "CREATED", "PENDING", DUE_MS - 30, attempt=0, executor=None, incarnation=0)
CLAIM = event(2, "CLAIMED", "CLAIMED", DUE_MS + 440)
FAILED = event(3, "RETRY", "PENDING", DUE_MS + 4_500)
AGAIN = event(
    4, "CLAIMED", "CLAIMED", DUE_MS + 4_900, attempt=2, executor="executor-2", incarnation=41
)
DONE = event(
    5, "SUCCEEDED", "SUCCEEDED", DUE_MS + 5_050, attempt=2, executor="executor-2", incarnation=41
)
ONCE_DONE = event(3, "SUCCEEDED", "SUCCEEDED", DUE_MS + 490)
TWICE = [CREATED, CLAIM, FAILED, AGAIN, DONE]

ROUND = Round(
    number=1,
    point="run-accepted",
    victim=EXECUTOR,
    incarnation=INCARNATION,
    away_s=0.0,
    delay_ms=3.0,
    began_ms=DUE_MS - 100,
    calm=True,
    shards={},
    shot={"killed_ms": KILLED_MS, "tasks": [TASK]},
    ended_ms=DUE_MS + 6_000,
)


def evidence(
    starts: list[Start],
    journal: list[Event],
    *,
    ack: Ack = ACK,
    losses: tuple[SessionLoss, ...] = (),
) -> Evidence:
    found = Evidence(acks=[ack], losses=list(losses))
    if starts:
        found.starts[TASK] = starts
    for start in starts:
        found.sunk[TASK, start.attempt] += 1
    found.numbers = {ack.number: {TASK}}
    found.journals[TASK] = journal[::-1]
    return found


def finding(records: Evidence, round_: Round = ROUND) -> Finding:
    (found,) = Trial([round_], records).findings()
    return found


def test_a_second_start_with_its_whole_chain_of_records_has_its_cause() -> None:
    found = finding(evidence([FIRST, SECOND], TWICE))
    assert found.problems == ()
    assert found.hit == ""
    assert found.started_twice == {"EXECUTOR_KILLED_BEFORE_ITS_RESULT": 1}


def test_a_result_that_was_seen_to_leave_has_a_cause_of_its_own() -> None:
    found = finding(evidence([FIRST, SECOND], TWICE), replace(ROUND, point="result-swallowed"))
    assert found.started_twice == {"EXECUTOR_KILLED_AS_ITS_RESULT_LEFT": 1}


def test_an_executor_that_said_that_its_session_was_lost_is_a_cause() -> None:
    lines = [
        "2026-11-21T18:00:01.250000Z [warning  ] the membership is lost; its runs are given up"
    ]
    (loss,) = losses_in(lines, EXECUTOR)
    assert loss.at_ms % 60_000 == 1_250
    records = evidence([FIRST, SECOND], TWICE, losses=(SessionLoss(EXECUTOR, KILLED_MS),))
    found = finding(records, replace(ROUND, victim="executor-3", incarnation=77))
    assert found.started_twice == {"EXECUTOR_LOST_ITS_SESSION": 1}


@pytest.mark.parametrize(
    ("starts", "journal", "round_"),
    [
        pytest.param([FIRST, replace(SECOND, attempt=1)], TWICE, ROUND, id="same attempt"),
        pytest.param(
            [FIRST, replace(SECOND, started_ms=KILLED_MS - 10)], TWICE, ROUND, id="before the kill"
        ),
        pytest.param(
            [replace(FIRST, started_ms=KILLED_MS + 10), SECOND], TWICE, ROUND, id="both after it"
        ),
        pytest.param([FIRST, SECOND], TWICE, replace(ROUND, shot={}), id="nobody was killed"),
        pytest.param(
            [FIRST, SECOND], TWICE, replace(ROUND, victim="executor-3"), id="somebody else was"
        ),
        pytest.param(
            [FIRST, SECOND], TWICE, replace(ROUND, incarnation=39), id="an earlier life was"
        ),
        pytest.param(
            [FIRST, SECOND],
            [CREATED, CLAIM, FAILED._replace(at_ms=KILLED_MS - 10), AGAIN, DONE],
            ROUND,
            id="had failed before",
        ),
        pytest.param(
            [FIRST, SECOND], [CREATED, CLAIM, AGAIN, DONE], ROUND, id="never failed in the journal"
        ),
        pytest.param(
            [FIRST, SECOND],
            [CREATED, CLAIM, FAILED, AGAIN._replace(incarnation=INCARNATION), DONE],
            ROUND,
            id="the dead one claimed again",
        ),
        pytest.param(
            [FIRST, SECOND],
            [CREATED, CLAIM._replace(executor="executor-3"), FAILED, AGAIN, DONE],
            ROUND,
            id="claimed for another one",
        ),
        pytest.param(
            [replace(FIRST, executor="executor-3"), SECOND],
            TWICE,
            ROUND,
            id="began where nobody was killed",
        ),
        pytest.param(
            [FIRST, replace(SECOND, attempt=1)],
            [CREATED, CLAIM, FAILED, AGAIN._replace(attempt=1), DONE._replace(attempt=1)],
            ROUND,
            id="one attempt in two places",
        ),
    ],
)
def test_a_second_start_of_which_any_record_is_missing_or_false_is_a_problem(
    starts: list[Start], journal: list[Event], round_: Round
) -> None:
    found = finding(evidence(starts, journal), round_)
    assert found.started_twice_without_cause == 1
    assert any("started again without cause" in problem for problem in found.problems)


def test_the_death_of_an_owner_is_no_cause() -> None:
    owner = replace(ROUND, point="order-swallowed", victim="scheduler-1", shards={3: 5})
    assert finding(evidence([FIRST, SECOND], TWICE), owner).started_twice_without_cause == 1


def test_three_starts_need_two_causes() -> None:
    third = replace(SECOND, attempt=3, started_ms=DUE_MS + 9_000)
    claim = event(6, "CLAIMED", "CLAIMED", DUE_MS + 8_900, attempt=3, executor="executor-2")
    assert finding(evidence([FIRST, SECOND, third], [*TWICE, claim])).started_twice == {}


def test_at_most_once_is_never_excused() -> None:
    found = finding(evidence([FIRST, SECOND], TWICE, ack=ACK._replace(once=True)))
    assert found.once_twice == 1
    assert any("at most once" in problem for problem in found.problems)


def test_an_at_most_once_task_may_be_lost_with_the_executor_that_its_claim_names() -> None:
    lost = event(3, "LOST", "LOST", DUE_MS + 4_500)
    once = ACK._replace(once=True)
    found = finding(evidence([FIRST], [CREATED, CLAIM, lost], ack=once))
    assert found.problems == ()
    assert found.once_lost == {"EXECUTOR_KILLED_BEFORE_ITS_RESULT": 1}
    never_began = finding(evidence([], [CREATED, CLAIM, lost], ack=once))
    assert never_began.problems == ()
    other = CLAIM._replace(incarnation=INCARNATION - 1)
    refused = finding(evidence([FIRST], [CREATED, other, lost], ack=once))
    assert any("LOST without cause" in problem for problem in refused.problems)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(evidence([], [CREATED, CLAIM, ONCE_DONE]), id="never started"),
        pytest.param(evidence([FIRST], [CREATED, CLAIM]), id="never ended"),
        pytest.param(evidence([FIRST], []), id="not in the store"),
    ],
)
def test_what_was_acknowledged_and_did_not_come_to_its_end_is_lost(records: Evidence) -> None:
    found = finding(records)
    assert found.lost == 1
    assert any("acknowledged and lost" in problem for problem in found.problems)


def test_other_broken_promises_are_seen() -> None:
    journal = [CREATED, CLAIM, ONCE_DONE]
    early = evidence([replace(FIRST, started_ms=DUE_MS - 1)], journal)
    assert finding(early).early == 1
    traceless = evidence([FIRST], journal)
    traceless.sunk.clear()
    assert "trace in the sink" in finding(traceless).problems[0]
    doubled = evidence([FIRST], journal)
    doubled.sunk[TASK, 1] += 1
    assert "worked twice" in finding(doubled).problems[0]
    unstarted = evidence([FIRST], journal)
    unstarted.sunk[TASK, 9] += 1
    assert "no executor says" in finding(unstarted).problems[0]
    made_twice = evidence([FIRST], journal)
    made_twice.numbers[7].add("another")
    assert "two tasks" in finding(made_twice).problems[0]
    stuck = finding(evidence([FIRST], journal), replace(ROUND, stuck="not within 60 s"))
    assert "not right again: not within 60 s" in stuck.problems
    refused = evidence([FIRST], journal)
    refused.refused.append(f"{DUE_MS} 8 UNAVAILABLE no")
    assert (finding(refused).refused, finding(refused).problems) == (1, ())


def test_a_start_or_an_effect_long_after_the_first_is_seen_with_it(tmp_path: Path) -> None:
    starts, sink = tmp_path / "executor-1.starts.jsonl", tmp_path / SINK
    line = json.dumps({**{name: getattr(FIRST, name) for name in FIRST.__slots__}, "priority": 4})
    recorder = Recorder(tmp_path, "127.0.0.1:1")
    starts.write_text(line + "\n")
    sink.write_text(f"{TASK} 1 7\n")
    before = Evidence()
    recorder.read_files(before)
    assert (len(before.starts[TASK]), before.sunk[TASK, 1]) == (1, 1)
    with starts.open("a") as more_starts, sink.open("a") as more_sunk:
        more_starts.write(line + "\n")
        more_sunk.write(f"{TASK} 1 7\n")
    after = Evidence()
    recorder.read_files(after)
    after.journals[TASK] = [CREATED, CLAIM, ONCE_DONE][::-1]
    found = finding(after)
    assert found.started_twice_without_cause == 1
    assert "worked twice" in found.problems[0]


def test_a_fail_over_ends_with_the_first_start_of_a_later_epoch() -> None:
    owner = replace(ROUND, point="order-swallowed", victim="scheduler-1", shards={3: 5})
    later = replace(FIRST, epoch=9, started_ms=KILLED_MS + 4_200)
    assert finding(evidence([later], [CREATED, CLAIM, ONCE_DONE]), owner).failover_ms == (4_200,)
    moved = evidence([later], [CREATED, CLAIM, ONCE_DONE])
    other = encode_id(IdParts(Bucket(Minute(29_000_000), ShardId(3)), bytes([1] * 16)))
    moved.starts[other] = [replace(later, task_id=other, epoch=8, started_ms=KILLED_MS - 10)]
    assert finding(moved, owner).failover_ms == ()


SHOTS = {"durable": [[TASK, 5, "CREATED"]], "claim": [[TASK, 5, "CLAIMED"]], "order": [TASK]}
LATE_ACK = ACK._replace(acked_ms=KILLED_MS + 4_000, resends=1)


def aimed_at(point: str, shot: str) -> Round:
    return replace(
        ROUND,
        point=point,
        victim="scheduler-1",
        shards={3: 5},
        shot={"killed_ms": KILLED_MS, "tasks": SHOTS[shot]},
    )


LATER = replace(FIRST, epoch=9, started_ms=KILLED_MS + 4_200)


@pytest.mark.parametrize("point", ["commit-durable", "commit-told", "leader-commit"])
def test_a_kill_before_the_acknowledgement_needs_the_clients_and_the_stores_word(
    point: str,
) -> None:
    round_, journal = aimed_at(point, "durable"), [CREATED, CLAIM, ONCE_DONE]
    assert finding(evidence([LATER], journal, ack=LATE_ACK), round_).hit == ""
    assert finding(evidence([LATER], journal), round_).hit != ""
    elsewhere = [CREATED._replace(epoch=6), *journal[1:]]
    missing = finding(evidence([LATER], elsewhere, ack=LATE_ACK), round_).hit
    assert "the store has no CREATED" in missing


def test_an_answer_that_came_late_but_unasked_was_not_lost_with_the_leader() -> None:
    journal, late = [CREATED, CLAIM, ONCE_DONE], LATE_ACK._replace(resends=0)
    round_ = aimed_at("leader-commit", "durable")
    hit = finding(evidence([LATER], journal, ack=late), round_).hit
    assert hit == "no answer was on its way through the leader"


@pytest.mark.parametrize("point", ["claim-durable", "claim-told"])
def test_a_kill_before_the_order_needs_the_executors_and_the_stores_word(point: str) -> None:
    round_, journal = aimed_at(point, "claim"), [CREATED, CLAIM, ONCE_DONE]
    assert finding(evidence([LATER], journal), round_).hit == ""
    assert "started" in finding(evidence([FIRST], journal), round_).hit
    unclaimed = [CREATED, ONCE_DONE]
    assert "the store has no CLAIMED" in finding(evidence([LATER], unclaimed), round_).hit


def test_a_swallowed_order_was_acted_on_by_nobody() -> None:
    round_, journal = aimed_at("order-swallowed", "order"), [CREATED, CLAIM, ONCE_DONE]
    assert finding(evidence([LATER], journal), round_).hit == ""
    assert "started" in finding(evidence([FIRST], journal), round_).hit


def test_a_run_whose_result_was_reported_was_not_in_the_executors_hands() -> None:
    reported = replace(ROUND, shot={**ROUND.shot, "reported": [TASK]})
    assert (
        finding(evidence([FIRST, SECOND], TWICE), reported).hit == "all results had been reported"
    )


def test_a_round_without_a_kill_hit_nothing() -> None:
    records = evidence([FIRST], [CREATED, CLAIM, ONCE_DONE])
    assert finding(records, replace(ROUND, shot={})).hit == "the point was not reached in time"
