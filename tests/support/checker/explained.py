"""Why a task does not run, as it was told, against what an outsider knows (I22).

An answer is what an owner's memory says at one moment between its call and its return. What is told
here holds under any fault; `explained_still` asks for more where nothing is broken or moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from tests.support.checker.base import NEVER_US
from tests.support.checker.blackouts import blackouts, in_the_dark
from tests.support.checker.explained_still import still
from tests.support.checker.history import History
from tests.support.checker.questions import Asked, Because, ForeignRow
from tests.support.checker.records import Call, Kind
from tests.support.checker.register import ASKED_TO_END, NOT_FOUND
from tests.support.checker.stories import Stories, Story
from tests.support.checker.verdicts import Promise, Violation

ORDER: Final = (
    *("ENDED", "SHARD_NOT_OWNED", "OWNER_SILENT", "REVOKE_ASKED", "NEWER_VERSION_NEEDED"),
    *("ATTEMPT_UNRESOLVED", "RUNNING", "DISPATCHED", "NOT_DUE", "BACKOFF", "STORE_UNAVAILABLE"),
    *("MUTATION_IN_FLIGHT", "OWNER_SUSPENDED", "SHARD_LOADING", "NO_HANDLER", "NO_LABEL"),
    *("EXECUTORS_UNREACHABLE", "KEY_LIMIT", "RATE_LIMIT", "EXECUTORS_LEFT_OUT", "LANE_BUDGET"),
    *("HANDLER_CAP", "EXECUTORS_FULL", "STARTING"),
)
"""Of two that are true at once the former is told first."""
MS_US: Final = 1_000
"""Instants are told in milliseconds."""
NOBODY_KNOWS: Final = frozenset({"SHARD_NOT_OWNED", "OWNER_SILENT"})
"""Then only an owner could say whether what the journal has still holds."""
STATES_OF_CANCELS: Final = frozenset({"CANCELLED", "TERMINATED"})


def explained(history: History) -> Iterator[Violation]:
    """All explanations that cannot be true."""
    stories, dark = Stories(history), blackouts(history.faults)
    for asked in history.asked:
        story = stories.of(asked.task)
        rules = [_answered(story, asked), _shape(asked), _always(story, asked)]
        rules.append(in_the_dark(dark, story, asked))
        if history.terms.still and not asked.foreign:
            rules.append(still(stories, story, asked))
        for text in chain(*rules):
            causes = ", ".join(each.cause for each in asked.because) or asked.reason
            said = f"{causes} told between {asked.inv_us} and {asked.ret_us}: {text}"
            yield Violation(Promise.EXPLAINED, asked.task, said)


def _answered(story: Story, asked: Asked) -> Iterator[str]:
    """To strangers there is no such task; to others there is, and no fault takes it away."""
    if asked.foreign and asked.because:
        yield "a stranger was told of it"
    if asked.foreign or asked.reason not in NOT_FOUND or story.terms.kept_us is not None:
        return
    gone = any(op.call is Call.DELETE and op.inv_us <= asked.ret_us for op in story.changes)
    if story.known_us < asked.inv_us and not gone:
        yield "it was acknowledged, and is said not to be there"


def _shape(asked: Asked) -> Iterator[str]:
    places = [ORDER.index(each.cause) if each.cause in ORDER else -1 for each in asked.because]
    if -1 in places:
        yield "that is no cause"
    elif places != sorted(places):
        yield "not in the order in which they hold"
    elif any(place == ORDER.index("ENDED") for place in places) and len(places) > 1:
        yield "what is over is held back by nothing"


def _always(story: Story, asked: Asked) -> Iterator[str]:
    for because in asked.because:
        rule = _RULES.get(because.cause)
        if rule is not None:
            yield from rule(story, asked, because)
    over = story.told_ended_by(asked.inv_us)
    known = {"ENDED", *NOBODY_KNOWS}
    if over is not None and asked.because and asked.because[0].cause not in known:
        yield f"{over.client} had been told at {over.ret_us} that it is over"


def _ended(story: Story, asked: Asked, because: Because) -> Iterator[str]:
    """Something that ends it came before, and at last it is what it was said to be."""
    state = because.detail("state")
    if story.last is not None and story.last.state != state:
        yield f"{state}, and at last {story.last.state}"
    if state == "SUCCEEDED" and not any(end.ok and end.at_us <= asked.ret_us for end in story.ends):
        yield "no attempt has ended well by then"
    if state in STATES_OF_CANCELS and not any(
        op.call in ASKED_TO_END and op.inv_us <= asked.ret_us for op in story.changes
    ):
        yield "nobody has asked for its end by then"


def _running(story: Story, asked: Asked, because: Because) -> Iterator[str]:
    """That attempt had begun, there, and when it is said to have begun."""
    number = because.detail("attempt")
    begun = [each for each in story.starts if str(each.attempt) == number]
    begun = [each for each in begun if each.at_us <= asked.ret_us]
    there = [each for each in begun if story.node_of(each) == because.detail("executor")]
    if not there:
        yield f"no attempt {number} has begun there by then"
    elif because.since_us is None or not any(
        _near(because.since_us, each.at_us, story.terms.early_us + MS_US) for each in there
    ):
        yield f"attempt {number} did not begin at {because.since_us}"


def _not_due(story: Story, asked: Asked, because: Because) -> Iterator[str]:
    """Its due time is to come, and is the one that was asked for."""
    slack_us = 2 * story.terms.early_us + MS_US
    if because.next_us is None or because.next_us < asked.inv_us - slack_us:
        yield f"it was due at {because.next_us}"
    elif story.wish is not None and not story.changes_by(asked.ret_us):
        if story.wish.due_us is not None and because.next_us != story.wish.due_us:
            yield f"due at {because.next_us} instead of {story.wish.due_us}"
        if because.since_us is None or because.since_us < story.made_us - slack_us:
            yield f"due since {because.since_us}, before anybody had asked for it"
        if because.since_us is not None and because.since_us > asked.ret_us + slack_us:
            yield f"due since {because.since_us}, which has not come"


def _backoff(story: Story, asked: Asked, because: Because) -> Iterator[str]:
    """An attempt has failed, and nothing begins before what is named."""
    slack_us = 2 * story.terms.early_us + MS_US
    failed = any(not end.ok and end.at_us <= asked.ret_us for end in story.ends)
    if not failed and not story.terms.struck:
        yield "no attempt has failed by then"
    if because.next_us is None or because.next_us < asked.inv_us - slack_us:
        yield f"its backoff was over at {because.next_us}"
    elif not any(op.inv_us <= because.next_us for op in story.changes):
        number = int(because.detail("attempt") or 0)
        for start in story.starts:
            between = asked.ret_us < start.at_us < because.next_us - slack_us
            if between and start.attempt > number:
                yield f"attempt {start.attempt} began at {start.at_us}, before {because.next_us}"


def _key_limit(story: Story, asked: Asked, because: Because) -> Iterator[str]:
    """It has that key, and as many as may are said to run."""
    wish = story.wish
    if wish is None:
        return
    if f"/{because.detail('key')}" != wish.key[wish.key.find("/") :]:
        yield f"its key is {wish.key}"
    most, running = because.detail("concurrency"), because.detail("running")
    if most and (int(most) != wish.most or int(running) < wish.most):
        yield f"{running} run and {most} may, where {wish.most} may"


def _newer(story: Story, asked: Asked, because: Because) -> Iterator[str]:
    """Only of what was written and cannot be read, and by whom."""
    rows = story.foreign_rows
    if not rows:
        yield "nobody has written anything that cannot be read"
        return
    if not any(row.written_us <= asked.ret_us and asked.inv_us < row.goes_on_us for row in rows):
        yield "nothing of it was written that cannot be read"
    if because.since_us is None or because.since_us > min(row.written_us for row in rows):
        yield f"since {because.since_us}, and that is not when it was written"
    if because.detail("node") not in story.owners:
        yield f"{because.detail('node')} owns nothing"


def _near(one_us: int, other_us: int, slack_us: int) -> bool:
    return abs(one_us - other_us) <= slack_us


_RULES: Final = {
    "ENDED": _ended,
    "RUNNING": _running,
    "NOT_DUE": _not_due,
    "BACKOFF": _backoff,
    "KEY_LIMIT": _key_limit,
    "NEWER_VERSION_NEEDED": _newer,
}


def held_back(history: History) -> Iterator[Violation]:
    """What nobody can read stays as it is, is told of as that, and goes on when mended (I23)."""
    held = {row.task: row for row in history.foreign_rows}
    for start in history.starts:
        row = held.get(start.task)
        if row is not None and row.read_us <= start.at_us < row.mended_us:
            text = f"attempt {start.attempt} began at {start.at_us} though nobody could read it"
            yield Violation(Promise.HELD_BACK, start.task, text)
    for row in held.values():
        yield from _goes_on(history, row)
    for asked in history.asked:
        row = held.get(asked.task)
        if row is None or asked.foreign or not asked.because:
            continue
        surely = row.read_us <= asked.inv_us and asked.ret_us < row.mended_us
        causes = [each.cause for each in asked.because]
        if surely and causes != ["NEWER_VERSION_NEEDED"]:
            yield Violation(Promise.HELD_BACK, asked.task, f"explained by {causes} meanwhile")
    for op in history.ops:
        row = held.get(op.task)
        if row is None or op.call is Call.CREATE or op.foreign:
            continue
        surely = row.read_us <= op.inv_us and op.ret_us < row.mended_us
        if surely and (op.kind is Kind.OK or op.reason != NEWER):
            text = f"{op.call} was answered {op.kind} {op.reason} though nobody could read it"
            yield Violation(Promise.HELD_BACK, op.task, text)


def _goes_on(history: History, row: ForeignRow) -> Iterator[Violation]:
    """It begins when it is mended and due, if nobody has asked for anything else."""
    if row.goes_on_us == NEVER_US or not history.terms.calm:
        return
    made = [op.wish for op in history.ops if op.task == row.task and op.wish is not None]
    due_us = max((wish.due_us or 0 for wish in made), default=0)
    first_us = min((each.at_us for each in history.starts if each.task == row.task), default=None)
    if first_us is None or first_us > max(row.goes_on_us, due_us + (history.terms.late_us or 0)):
        text = f"it began at {first_us}, mended at {row.mended_us} and due at {due_us}"
        yield Violation(Promise.HELD_BACK, row.task, text)


NEWER: Final = "NEWER_VERSION_NEEDED"
"""How a question for such a task is refused."""
