"""What the command line answers when something went wrong: an exit code, a sentence, a hint.

Exit codes: 0 ok; 1 other failure; 2 usage, configuration or refused request; 3 not found; 4 not
authenticated or not allowed; 5 conflict or precondition; 6 unavailable or deadline; 7 limit;
130 interrupted. Waiting for a task: 0 succeeded; 10 failed; 11 cancelled; 12 expired;
124 still going on when the time was over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from timeball.errors import TimeballError
from timeball.settings import ADDRESS_VARIABLE, API_KEY_VARIABLE

if TYPE_CHECKING:
    from timeball.v1 import task_pb2

OTHER = 1
FAILED = 10
CANCELLED = 11
EXPIRED = 12
INTERRUPTED = 130

BY_CODE = {
    "INVALID_ARGUMENT": 2,
    "NOT_FOUND": 3,
    "UNAUTHENTICATED": 4,
    "PERMISSION_DENIED": 4,
    "ALREADY_EXISTS": 5,
    "FAILED_PRECONDITION": 5,
    "ABORTED": 5,
    "UNAVAILABLE": 6,
    "DEADLINE_EXCEEDED": 6,
    "RESOURCE_EXHAUSTED": 7,
}
BY_REASON = {"WAIT_TIMEOUT": 124, "TASK_FAILED": FAILED}

HINTS = {
    "UNAVAILABLE": f"is it running? `timeball dev` starts one; {ADDRESS_VARIABLE} says where",
    "UNAUTHENTICATED": f"the API key in {API_KEY_VARIABLE} is missing, wrong, expired or revoked",
    "TASK_NOT_FOUND": "`timeball task list` and `timeball schedule list` show what is there",
    "NODE_NOT_FOUND": "`timeball cluster nodes` shows who is alive",
    "RESOURCE_NOT_FOUND": "`timeball namespace|user|key list` show what is there",
    "TOO_LATE": "`timeball task get ID` shows its attempts",
    "OUTCOME_UNKNOWN": "read again; look before you repeat a change: `timeball task list`",
    "WAIT_TIMEOUT": "`timeball task wait ID` goes on waiting",
}


def exit_code(error: TimeballError) -> int:
    """The exit code for an error."""
    return BY_REASON.get(error.reason) or BY_CODE.get(error.code, OTHER)


def lines(error: TimeballError) -> list[str]:
    """What to print: one sentence, the fields that are wrong, a hint if there is one."""
    told = [f"error: {error.message}"]
    told += [
        f"  {each.field}: {each.description}"
        for each in error.violations
        if each.description not in error.message
    ]
    if error.reason in HINTS:
        told.append(f"hint: {HINTS[error.reason]}")
    return told


def task_code(task: task_pb2.Task) -> int:
    """The exit code for a task that has ended."""
    from timeball.v1 import task_pb2

    if task.state == task_pb2.TASK_STATE_SUCCEEDED:
        return 0
    if task.state == task_pb2.TASK_STATE_CANCELLED:
        return CANCELLED
    return EXPIRED if task.cause == task_pb2.FAILURE_CAUSE_EXPIRED else FAILED
