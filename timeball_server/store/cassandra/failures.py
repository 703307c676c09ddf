"""What the driver's errors mean: nothing was written, or nobody knows.

Owns that one judgement. When in doubt it is "unknown": a caller that resends an immutable row or
re-reads a fenced one loses a round trip, a caller that believes a wrong "not written" loses a task.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from cassandra import (
    AuthenticationFailed,
    Unauthorized,
    Unavailable,
    protocol,
)
from cassandra.cluster import NoHostAvailable
from timeball.errors import (
    FailedPrecondition,
    Internal,
    OutcomeUnknown,
    StoreUnavailable,
    TimeballError,
)

from timeball_server.store.cassandra.driver import REFUSED


class Effect(Enum):
    """What a request can have left behind when it fails."""

    READ = "read"
    """Nothing."""
    ONE_PARTITION = "one partition"
    """One mutation: the coordinator counts the living replicas before it sends the first copy."""
    MANY_PARTITIONS = "many partitions"
    """Several mutations, or a conditional one: it may be refused after a part of it happened."""


# Never sent: our policies never retry, so an empty plan means that no node was asked at all.
_NEVER_SENT: Final = (NoHostAvailable, protocol.IsBootstrappingErrorMessage)


def meaning(error: BaseException, effect: Effect) -> TimeballError:
    """The error that the caller of a store sees."""
    if isinstance(error, TimeballError):
        return error
    if isinstance(error, (Unauthorized, AuthenticationFailed)):
        return FailedPrecondition(
            "The database does not allow this user to do that; nothing was written. Grant it "
            "SELECT and MODIFY on the keyspace."
        )
    if isinstance(error, REFUSED):
        return Internal(
            f"The database refused a statement ({_line(error)}). Nothing was written. "
            "If the schema is up to date, please report this."
        )
    if effect is Effect.READ:
        return StoreUnavailable(f"The database could not be read ({_line(error)}). Try again.")
    is_counted = isinstance(error, Unavailable) and effect is Effect.ONE_PARTITION
    if is_counted or isinstance(error, _NEVER_SENT):
        return StoreUnavailable(
            f"The database was not reached ({_line(error)}); nothing was written. Try again."
        )
    return OutcomeUnknown(
        f"The database did not confirm a write ({_line(error)}); it may have happened or may yet. "
        "Send the same rows again, or read what stands there."
    )


def _line(error: BaseException) -> str:
    """The kind of the error and the beginning of its text, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
