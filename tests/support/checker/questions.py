"""Records of questions why a task does not run, and of what an outsider knows beside them."""

from __future__ import annotations

from tests.support.checker.base import NEVER_US, Record


class Nature(Record, frozen=True, kw_only=True, tag="nature"):
    """What else its client knows of a task that it made to be held back.

    Attributes:
        labels: what the executor must carry.
        backoff_us: exactly so long waits each further attempt; None = not known.
        pace_us: at least so long lies between two starts of its key; 0 = any time.
        start_by_us: given up if it has not begun by then.
        crowd: of tasks with this name those go first that are due first; empty = not known.
    """

    task: str
    handler: str
    labels: tuple[tuple[str, str], ...] = ()
    backoff_us: int | None = None
    pace_us: int = 0
    start_by_us: int | None = None
    crowd: str = ""


class Serving(Record, frozen=True, kw_only=True, tag="serving"):
    """A process became an executor; until it was asked to leave, or its end."""

    process: str
    node: str
    handlers: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()
    slots: int = 1
    strength: int = 1
    caps: tuple[tuple[str, int], ...] = ()
    from_us: int
    until_us: int = NEVER_US


class Because(Record, frozen=True, kw_only=True):
    """One thing that holds a task back, as an answer has it."""

    cause: str
    since_us: int | None = None
    next_us: int | None = None
    details: tuple[tuple[str, str], ...] = ()

    def detail(self, word: str) -> str:
        """A fact of it; empty = it is not told."""
        return next((value for name, value in self.details if name == word), "")


class Asked(Record, frozen=True, kw_only=True, tag="asked"):
    """Somebody asked why a task does not run; `because` is empty if that was refused."""

    client: str
    task: str
    inv_us: int
    ret_us: int
    reason: str = ""
    because: tuple[Because, ...] = ()
    foreign: bool = False


class ForeignRow(Record, frozen=True, kw_only=True, tag="foreign row"):
    """Something of a task was written that nobody can read: from its writing to its mending.

    Attributes:
        read_us: by then its shard has been taken by somebody who cannot read it.
        goes_on_us: by then whoever can read it must have found it.
    """

    task: str
    written_us: int
    read_us: int = NEVER_US
    mended_us: int = NEVER_US
    goes_on_us: int = NEVER_US
