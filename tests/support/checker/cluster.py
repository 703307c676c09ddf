"""What concerns more than one task: owners and epochs, requests, watchers, what is left over."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.records import Call, Kind
from tests.support.checker.verdicts import Promise, Violation


def owners(history: History) -> Iterator[Violation]:
    """One accepted owner per epoch, and no executor goes back to a lower epoch (I9)."""
    owner: dict[tuple[int, int], str] = {}
    for claim in history.claims:
        first = owner.setdefault((claim.shard, claim.epoch), claim.owner)
        if first != claim.owner:
            text = f"epoch {claim.epoch} was published by {first} and {claim.owner}"
            yield Violation(Promise.ONE_OWNER, f"shard {claim.shard}", text)
    shards: dict[str, int] = {}
    for sent in history.sent:
        shards[sent.task] = sent.shard
        if owner.get((sent.shard, sent.epoch)) != sent.owner:
            text = f"{sent.owner} sent an order in epoch {sent.epoch} that is not its own"
            yield Violation(Promise.ONE_OWNER, f"shard {sent.shard}", text)
    yield from _accepted_epochs(history, shards)


def _accepted_epochs(history: History, shards: dict[str, int]) -> Iterator[Violation]:
    highest: dict[tuple[str, int], int] = {}
    for start in history.starts:
        shard = shards.get(start.task)
        if shard is None:
            continue
        key = (start.process, shard)
        if start.epoch < highest.get(key, 0):
            text = f"{start.process} began a run of epoch {start.epoch} after a higher one"
            yield Violation(Promise.ONE_OWNER, start.task, text)
        highest[key] = max(start.epoch, highest.get(key, 0))


def requests(history: History) -> Iterator[Violation]:
    """One request, one task; nothing runs that nobody asked for or that was refused (I1, I12)."""
    known: dict[str, str] = {}
    wanted: dict[str, Kind] = {}
    for op in history.ops:
        if op.call not in (Call.CREATE, Call.CREATE_SCHEDULE):
            continue
        if op.kind is Kind.OK:
            first = known.setdefault(op.request, op.task)
            if first != op.task:
                text = f"one request made {first} and {op.task}"
                yield Violation(Promise.TRUTH, op.task, text)
        if op.wish is not None:
            former = wanted.get(op.wish.payload)
            wanted[op.wish.payload] = op.kind if former in (None, Kind.FAIL) else former
    yield from _unwanted(history, wanted)


def _unwanted(history: History, wanted: dict[str, Kind]) -> Iterator[Violation]:
    runs: dict[str, str] = {}
    for start in history.starts:
        if not start.payload:
            continue
        kind = wanted.get(start.payload)
        if kind is None:
            yield Violation(Promise.DURABLE, start.task, "ran, but nobody asked for it")
        elif kind is Kind.FAIL:
            yield Violation(Promise.DURABLE, start.task, "ran, but its creation failed")
        first = runs.setdefault(start.payload, start.task)
        if first != start.task and not start.payload.startswith(OF_SCHEDULE):
            yield Violation(Promise.TRUTH, start.task, f"the same wish ran as {first}")


OF_SCHEDULE = "schedule "
"""How the payload of a schedule begins: all its runs are given the same."""


def watchers(history: History) -> Iterator[Violation]:
    """Whoever watches a task is told its end, wherever the shard and the caller went (I12)."""
    for followed in history.followed:
        if not followed.told:
            yield Violation(Promise.TRUTH, followed.task, "watched, and its end was never told")


def isolation(history: History) -> Iterator[Violation]:
    """To another namespace a task does not exist, whatever is asked of it (I13)."""
    for op in history.ops:
        if op.foreign and (op.kind is Kind.OK or op.reason in REVEALING):
            said = f"{op.call} of {op.client}, of another namespace: {op.kind} {op.reason}"
            yield Violation(Promise.ISOLATION, op.task, said)


REVEALING = frozenset({"TOO_LATE", "STALE_ETAG", "FAILED_PRECONDITION"})
"""Refusals that tell a stranger that the task exists."""


def answers(history: History) -> Iterator[Violation]:
    """Who asks is answered, well or not: soon, if nothing keeps answers; or at last (I11).

    Where nothing is broken nobody has to ask twice, whatever operators move or stop.
    """
    terms = history.terms
    sound_us = 0 if terms.calm else terms.healed_us + (terms.recover_us or NEVER_US)
    unread = {row.task for row in history.foreign_rows}
    for op in history.ops:
        if terms.calm and op.requests > 1 and op.task not in unread:
            text = f"{op.call} of {op.client} took {op.requests} requests, for {op.reason!r}"
            yield Violation(Promise.LIVE, op.task, text)
        for at_us, took_us in op.stalls:
            slow = at_us >= sound_us and took_us >= STALL_US
            if slow or (terms.answer_us is not None and took_us >= terms.answer_us):
                text = f"{op.call} of {op.client} was not answered for {took_us} us, at {at_us}"
                yield Violation(Promise.LIVE, op.task, text)


STALL_US = 5_000_000
"""So long nobody waits for an answer when nothing is broken."""


def leftovers(history: History) -> Iterator[Violation]:
    """Nothing is left after the quiet, and nothing happened that never may (I14)."""
    for residue in history.residues:
        yield Violation(Promise.HYGIENE, "run", residue.what)
    for problem in history.problems:
        yield Violation(Promise.SANITY, problem.who, problem.what)
