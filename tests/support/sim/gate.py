"""What a script keeps on its way: writes to the store, and messages on streams.

A kept write lands when the script says so; its writer was told that nobody knows. A kept message
arrives when the script says so, in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from timeball_server.core.journal import Row

Rows = Sequence[Row]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Rows of one partition and task that one process has sent."""

    process: str
    rows: Rows
    apply: Callable[[], None]


@dataclass(slots=True)
class Gate:
    """Who is held up, and what.

    Attributes:
        faints: who freezes before it raises an epoch.
        passes: what is not kept, though its writer is shut out.
    """

    shut: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    faints: set[str] = field(default_factory=set)
    passes: Callable[[Rows], bool] = lambda _: False
    kept: list[Kept] = field(default_factory=list)
    messages: list[Callable[[], object]] = field(default_factory=list)

    def land(self, process: str, wanted: Callable[[Rows], bool] = bool) -> None:
        """Let writes of a process arrive: all, or those with certain rows. Repetitions too."""
        for each in [each for each in self.kept if each.process == process]:
            if wanted(each.rows):
                self.kept.remove(each)
                each.apply()

    def of(self, process: str) -> list[Kept]:
        """What a process has sent and nobody has yet."""
        return [each for each in self.kept if each.process == process]

    def deliver(self) -> None:
        """Let all messages arrive."""
        self.stuck.clear()
        messages, self.messages = self.messages, []
        for arrive in messages:
            arrive()
