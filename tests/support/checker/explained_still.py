"""What must be told, and what must not, where nothing is broken and no shard moves.

An owner hears of a start or an end some milliseconds after it happened (`LAG_US`); what was so all
that time before a question, and until its answer, must be told, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.support.checker.explained_look import (
    JOIN_US,
    LAG_US,
    LEAVE_US,
    MS_US,
    OUTCOME_US,
    Look,
)
from tests.support.checker.explained_may import PASSING, May
from tests.support.checker.questions import Asked, Serving
from tests.support.checker.register import ASKED_TO_END
from tests.support.checker.stories import Span, Stories, Story

BUSY: Final = frozenset({"EXECUTORS_FULL", "HANDLER_CAP", "LANE_BUDGET", "EXECUTORS_LEFT_OUT"})
NEVER: Final = frozenset(
    {
        *("SHARD_NOT_OWNED", "OWNER_SILENT", "ATTEMPT_UNRESOLVED", "STORE_UNAVAILABLE"),
        *("OWNER_SUSPENDED", "SHARD_LOADING"),
    }
)
"""What only a fault, or a move, can bring about."""


def still(stories: Stories, story: Story, asked: Asked) -> Iterator[str]:
    """Everything that is wrong with an answer."""
    if not asked.because:
        if story.known_us < asked.inv_us and not story.changes_by(asked.ret_us):
            yield "nobody answers"
        return
    must, may = Must(stories, story, asked), May(stories, story, asked)
    for because in asked.because:
        if because.cause in NEVER:
            yield "nothing was broken or moved"
        yield from may.only_if(because)
    if not story.changes_by(asked.ret_us) and story.known_us < asked.inv_us:
        yield from must.must()
    elif story.changes_by(asked.ret_us):
        yield from must.changed()


class Must(Look):
    """What must be told: the cause that surely holds, if there is one."""

    def must(self) -> Iterator[str]:
        """The cause that surely holds, if there is one."""
        spans = self.story.spans
        begun = [each for each in spans if each.start.at_us <= self.to_us]
        if begun and begun[-1].start.at_us > self.from_us:
            return  # it begins just now
        if not begun:
            yield from self._before_any_start()
        elif begun[-1].until_us >= self.to_us:
            yield from self._is("RUNNING", since_us=begun[-1].start.at_us, slack_us=MS_US)
        elif begun[-1].until_us <= self.asked.inv_us - OUTCOME_US:
            yield from self._after(begun[-1])

    def _is(self, cause: str, since_us: int | None = None, slack_us: int = 0) -> Iterator[str]:
        since = self.first.since_us
        if self.first.cause != cause:
            yield f"it is {cause}"
        elif since_us is not None and (since is None or abs(since - since_us) > slack_us):
            yield f"since {since}, and it is so since {since_us}"

    def _before_any_start(self) -> Iterator[str]:
        wish = self.story.wish
        if wish is None:
            return
        soonest_us = latest_us = wish.due_us
        if soonest_us is None or latest_us is None:
            soonest_us = self.story.made_us + wish.delay_us
            latest_us = self.story.known_us + wish.delay_us
        if self.to_us < soonest_us:
            yield from self._is("NOT_DUE")
            yield from self._not_due_in_detail()
        elif self.from_us > latest_us:
            yield from self._overdue(soonest_us if soonest_us == latest_us else None)

    def _not_due_in_detail(self) -> Iterator[str]:
        since = self.first.since_us
        if since is not None and not self.story.made_us - MS_US <= since <= self.story.known_us:
            yield f"since {since}, and it was created from {self.story.made_us} on"
        if self.first.detail("handler") != self.nature.handler:
            yield f"its handler is {self.nature.handler}"
        handler, begin_us = self.nature.handler, self.from_us - LEAVE_US
        nobody = not self.stories.possibly(handler, begin_us, self.to_us)
        if nobody and "NO_HANDLER" not in self.causes:
            yield "nor does anybody have its handler"

    def _after(self, span: Span) -> Iterator[str]:
        last = self.story.last
        most = max((each.number for each in last.tries), default=0) if last is not None else 0
        if span.ok or (last is not None and last.ended and span.start.attempt == most):
            yield from self._is("ENDED", since_us=span.until_us, slack_us=MS_US)
            if self.first.detail("attempt") != str(span.start.attempt):
                yield f"it ended with attempt {span.start.attempt}"
        elif span.ok is not None and self.nature.backoff_us is not None:
            next_us = span.until_us + self.nature.backoff_us
            if self.to_us < next_us:
                yield from self._is("BACKOFF", since_us=span.until_us, slack_us=LAG_US)
                yield from self._backoff_in_detail(span)
            elif self.from_us > next_us + LAG_US:
                yield from self._overdue(None)

    def _backoff_in_detail(self, span: Span) -> Iterator[str]:
        first, backoff_us = self.first, self.nature.backoff_us or 0
        if first.since_us is None or first.next_us != first.since_us + backoff_us:
            yield f"until {first.next_us}, and its backoff takes {backoff_us}"
        told = (first.detail("attempt"), first.detail("handler"), first.detail("error"))
        known = (str(span.start.attempt), self.nature.handler, "Broken")
        if told != known:
            yield f"{told} instead of {known}"

    def _overdue(self, due_us: int | None) -> Iterator[str]:
        """Nothing runs, and it is time: the first of what stands in its way."""
        first = self.first
        if due_us is not None and first.since_us != due_us and first.cause not in PASSING:
            yield f"since {first.since_us}, and it is due since {due_us}"
        if self.nature.start_by_us is not None and not first.detail("start_by"):
            yield "it is given up if it does not begin, and that is not told"
        handler = self.nature.handler
        if not self.stories.possibly(handler, self.from_us - LEAVE_US, self.to_us):
            yield from self._is("NO_HANDLER")
            return
        there = self.stories.surely(handler, self.from_us - JOIN_US, self.to_us)
        near = self.stories.possibly(handler, self.from_us - LEAVE_US, self.to_us)
        if not there or there != near:
            return
        fitting = [each for each in there if set(self.nature.labels) <= set(each.labels)]
        if not fitting:
            yield from self._is("NO_LABEL")
            yield from self._no_label_in_detail(there)
        else:
            yield from self._waits_in_turn(fitting)

    def _no_label_in_detail(self, there: list[Serving]) -> Iterator[str]:
        carried = {pair for each in there for pair in each.labels}
        missing = [pair for pair in self.nature.labels if pair not in carried]
        words = ", ".join(f"{key}={value}" for key, value in missing or self.nature.labels)
        if self.first.detail("label") != words:
            yield f"{words} is what nobody carries"
        if self.first.detail("serving") != str(len(there)):
            yield f"{len(there)} serve its handler"

    def _waits_in_turn(self, fitting: list[Serving]) -> Iterator[str]:
        wish = self.story.wish
        if wish is not None and wish.key:
            _, least = self.at_work(self.stories.by_key.get(wish.key, []))
            if least >= wish.most:
                yield from self._is("KEY_LIMIT")
        elif all(map(self.is_full, fitting)) and not self._tells_of_busy():
            yield "everybody who could run it is busy"
        if self._paced() and "RATE_LIMIT" not in self.causes:
            yield "one of its key has begun just now, and it must wait for its turn"

    def _tells_of_busy(self) -> bool:
        return self.first.cause in BUSY or self.waits_there(self.first)

    def _paced(self) -> bool:
        """Whether one of its key began so shortly before that the next one may not."""
        pace_us, wish = self.nature.pace_us, self.story.wish
        if not pace_us or wish is None:
            return False
        starts = [each.start.at_us for each in self.stories.by_key.get(wish.key, [])]
        return any(self.to_us - pace_us + LAG_US < at_us < self.from_us for at_us in starts)

    def changed(self) -> Iterator[str]:
        """After the answer to a cancel it is over, or goes on as it was."""
        ended = [op for op in self.story.endings if op.call in ASKED_TO_END]
        if self.first.cause == "ENDED" and self.first.detail("state") == "CANCELLED" and ended:
            since_us = self.first.since_us or 0
            begun = any(each.until_us <= self.to_us for each in self.story.spans)
            if not begun and not any(op.inv_us - MS_US <= since_us <= op.ret_us for op in ended):
                yield f"since {since_us}, when nobody asked for its end"
