"""Requests at the corners of the API: what each is answered, and what it leaves as it was (I27).

A client says which corner a request is at, how it was answered, and how the thing that it is about
was shown before it, in the answer and after it. What the answer must be is the judge's matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tests.support.checker.base import Record
from tests.support.checker.verdicts import Promise, Violation

if TYPE_CHECKING:
    from tests.support.checker.history import History

WELL: Final = "ok"
GONE: Final = "TASK_NOT_FOUND"


class Corner(StrEnum):
    """What is odd about a request."""

    AGAIN = "asked for once more"
    ALREADY = "for what is so already"
    CHANGE = "for a change that nothing forbids"
    OTHER_BODY = "with the id of another request"
    TOO_FAR = "beyond the horizon"
    NO_TIME = "for times that never come, or that nobody can name"
    NEVER_WAS = "about what never was"
    VOID = "for what was cancelled before it was made"
    FOREIGN = "of another namespace"
    OLD = "for a revision of before"
    FIXED = "for what can not be done, or not now"
    TAKEN = "under a name that something else has"
    ENDED_TASK = "about a task that has ended"
    ENDED = "about a schedule that has ended"
    DELETED = "about what was deleted"
    UNREAD = "about what nobody can read"
    RIVALS = "at once with another one that has its id and says something else"
    TWINS = "twice at once"


class Dealt(Record, frozen=True, kw_only=True, tag="dealt"):
    """One request at a corner.

    Attributes:
        what: was asked for, in words for people.
        said: `ok`, or the reason of the refusal; of two at once both, sorted.
        before, after: how the subject was shown before the request and after its answer;
            `shown` in the answer itself, empty = the answer does not show it.
        wanted: what it must be shown like after a change; empty = only otherwise than before.
    """

    client: str
    corner: Corner
    what: str
    subject: str
    said: str
    before: str = ""
    shown: str = ""
    after: str = ""
    wanted: str = ""


ANSWERS: Final[dict[Corner, str]] = {
    Corner.AGAIN: WELL,
    Corner.ALREADY: WELL,
    Corner.CHANGE: WELL,
    Corner.OTHER_BODY: "REQUEST_ID_REUSED",
    Corner.TOO_FAR: "INVALID_REQUEST",
    Corner.NO_TIME: "INVALID_REQUEST",
    Corner.NEVER_WAS: GONE,
    Corner.VOID: "ALREADY_EXISTS",
    Corner.FOREIGN: GONE,
    Corner.OLD: "STALE_ETAG",
    Corner.FIXED: "FAILED_PRECONDITION",
    Corner.TAKEN: "ALREADY_EXISTS",
    Corner.ENDED_TASK: "TOO_LATE",
    Corner.ENDED: "FAILED_PRECONDITION",
    Corner.DELETED: GONE,
    Corner.UNREAD: "NEWER_VERSION_NEEDED",
    Corner.RIVALS: f"REQUEST_ID_REUSED and {WELL}",
    Corner.TWINS: f"{WELL} and {WELL}",
}
"""What each is told, as docs/errors.md has it."""
CHANGES: Final = frozenset({Corner.CHANGE, Corner.RIVALS, Corner.TWINS})
"""All others leave everything as it was."""


def dealings(history: History) -> Iterator[Violation]:
    """Each is answered as the API says, and nothing but what holds changes anything."""
    for each in history.dealt:
        for text in _wrong(each):
            said = f"{each.what}, {each.corner}: {text}"
            yield Violation(Promise.DEALINGS, each.subject, said)


def _wrong(each: Dealt) -> Iterator[str]:
    if each.said != ANSWERS[each.corner]:
        yield f"{each.said}, not {ANSWERS[each.corner]}"
        return
    if each.corner not in CHANGES and each.after != each.before:
        yield f"was {each.before}, and is {each.after}"
    if each.corner in CHANGES and each.before == each.after:
        yield f"still is {each.before}"
    if each.shown not in each.after:
        yield f"shows {each.shown}, and it is {each.after}"
    if each.wanted not in each.after:
        yield f"is {each.after}, and should be {each.wanted}"
