"""What may be told where nothing is broken and no shard moves, cause by cause, and its details."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.support.checker.base import NEVER_US
from tests.support.checker.explained_look import JOIN_US, LAG_US, LEAVE_US, MS_US, OUTCOME_US, Look
from tests.support.checker.questions import Because, Serving
from tests.support.checker.records import Call
from tests.support.checker.register import ASKED_TO_END

STARTS_US: Final = 15_000
"""So long it takes from a decision to the start."""
SPILLS_US: Final = 50_000
"""So long a task waits for executors of its own strength."""
LONGEST_LEAVE_US: Final = 21_000_000
"""Nobody is left out for longer in worlds that last half a minute."""
PASSING: Final = frozenset({"DISPATCHED", "STARTING", "MUTATION_IN_FLIGHT", "REVOKE_ASKED"})
CHANGES: Final = frozenset({Call.UPDATE, Call.RESCHEDULE})


class May(Look):
    """Each cause only if it may have been so at some time of the question."""

    def only_if(self, because: Because) -> Iterator[str]:
        """What is wrong with one of the causes."""
        rule = _RULES.get(because.cause)
        if rule is not None:
            yield from rule(self, because)

    def _running(self, because: Because) -> Iterator[str]:
        number = because.detail("attempt")
        mine = [each for each in self.story.spans if str(each.start.attempt) == number]
        if mine and all(each.until_us < self.from_us for each in mine):
            yield f"attempt {number} had ended"

    def _not_due(self, because: Because) -> Iterator[str]:
        if self.story.changes_by(self.to_us) or because.next_us is None:
            return
        wish = self.story.wish
        if wish is not None and wish.due_us is None:
            soonest_us = self.story.made_us + wish.delay_us - MS_US
            if not soonest_us <= because.next_us <= self.story.known_us + wish.delay_us:
                yield f"due at {because.next_us}, but not before {soonest_us}"

    def _passing(self, because: Because) -> Iterator[str]:
        """It lasts some milliseconds, or an executor has taken more than it has slots for."""
        since_us = because.since_us
        if since_us is None or since_us > self.to_us:
            yield f"since {since_us}, which has not come"
        elif since_us < self.from_us and not self.waits_there(because):
            yield f"since {since_us}, and nothing takes so long"

    def _starting(self, because: Because) -> Iterator[str]:
        """Not right after an attempt: its outcome is being written then, and the next one waits."""
        yield from self._passing(because)
        backoff_us, since_us = self.nature.backoff_us or 0, because.since_us or 0
        for span in self.story.spans:
            if span.until_us - MS_US <= since_us < span.until_us + backoff_us - MS_US:
                yield f"since {since_us}, and attempt {span.start.attempt} has just ended"

    def _dispatched(self, because: Because) -> Iterator[str]:
        yield from self._passing(because)
        if (because.since_us or 0) < self.story.sent_us - MS_US:
            yield f"since {because.since_us}, and it was not sent before {self.story.sent_us}"
        number = because.detail("attempt")
        if any(
            str(each.attempt) == number and each.at_us < self.from_us for each in self.story.starts
        ):
            yield f"attempt {number} has begun"

    def _revoke_asked(self, because: Because) -> Iterator[str]:
        """Somebody asks for a change at this moment."""
        open_ = [op for op in self.story.changes_by(self.to_us) if op.ret_us >= self.from_us]
        since_us = because.since_us
        if since_us is None or not any(op.inv_us - MS_US <= since_us for op in open_):
            yield "nobody asks for a change now"

    def _in_flight(self, because: Because) -> Iterator[str]:
        what, story = because.detail("writing"), self.story
        begin_us = self.asked.inv_us - OUTCOME_US
        if because.since_us is None or not begin_us <= because.since_us <= self.to_us:
            yield f"since {because.since_us}, and nothing takes so long"
        open_ = [op for op in story.changes_by(self.to_us) if op.ret_us >= self.from_us]
        over = [each for each in story.spans if begin_us <= each.until_us <= self.to_us]
        known = {
            "cancel": any(op.call in ASKED_TO_END for op in open_),
            "change": any(op.call in CHANGES for op in open_),
            "outcome": bool(over),
        }
        if not known.get(what, what == "release"):
            yield f"nothing is there of which the {what} could be written"

    def _no_handler(self, because: Because) -> Iterator[str]:
        if because.detail("handler") != self.nature.handler:
            yield f"its handler is {self.nature.handler}"
        named = [each for each in self.stories.serving if self.nature.handler in each.handlers]
        begin = self.from_us - JOIN_US
        if any(each.from_us <= begin and each.until_us >= self.to_us for each in named):
            yield "somebody has its handler"

    def _no_label(self, because: Because) -> Iterator[str]:
        there = self.stories.surely(self.nature.handler, self.from_us - JOIN_US, self.to_us)
        if any(set(self.nature.labels) <= set(each.labels) for each in there):
            yield "somebody carries its labels"

    def _unreachable(self, because: Because) -> Iterator[str]:
        near = self.stories.possibly(self.nature.handler, self.from_us - LEAVE_US, self.to_us)
        since_us = self.from_us - JOIN_US
        if all(each.from_us < since_us and each.until_us == NEVER_US for each in near):
            yield "nobody has just come, and nobody is leaving"

    def _key_limit(self, because: Because) -> Iterator[str]:
        wish = self.story.wish
        if wish is None:
            return
        spans = self.stories.by_key.get(wish.key, [])
        most, _ = self.at_work(spans)
        if most < wish.most:
            yield f"{most} of its key are at work, and {wish.most} may"
        near = [each for each in spans if each.start.at_us <= self.to_us + LAG_US]
        nodes = {self.story.node_of(s.start) for s in near if s.until_us >= self.from_us}
        told = {each for each in because.detail("executors").split(", ") if each}
        if not told <= nodes:
            yield f"they run on {sorted(nodes)}"
        if because.next_us is not None:
            yield "nobody knows when one of them ends"

    def _rate_limit(self, because: Because) -> Iterator[str]:
        pace_us, wish = self.nature.pace_us, self.story.wish
        if not pace_us or wish is None:
            yield "nothing paces it"
            return
        starts = [each.start.at_us for each in self.stories.by_key.get(wish.key, [])]
        if not any(self.from_us - pace_us < at_us <= self.to_us + LAG_US for at_us in starts):
            yield "none of its key has begun for so long"
        next_us = because.next_us or 0
        if any(self.to_us + LAG_US < at_us < next_us - MS_US for at_us in starts):
            yield f"one of its key began before {next_us}"
        if not self.asked.inv_us <= next_us <= self.to_us + pace_us + LAG_US:
            yield f"the next one may start at {next_us}"

    def _busy(self, because: Because) -> Iterator[str]:
        """Everybody who could run it has no slot, or the next 50 ms decide."""
        fitting = self.fitting()
        names = because.detail("executors").split(", ")
        if sorted(names) != sorted(each.node for each in fitting):
            if not self._some_left_out(names, fitting):
                yield f"{sorted(each.node for each in fitting)} could run it"
            return
        if because.next_us is not None:
            yield from self._spills(because.next_us, fitting)
        elif not (self._some_left_out(names, fitting) or self._begins_now()):
            yield from self._has_room(fitting)
        slots = because.detail("slots")
        if slots and int(slots) != sum(each.slots for each in fitting):
            yield f"{slots} slots, where there are {sum(each.slots for each in fitting)}"
        yield from self._ahead(because)

    def _has_room(self, fitting: list[Serving]) -> Iterator[str]:
        for each in fitting:
            most, _ = self.at_work(self.stories.by_process[each.process])
            if most < self.room_of(each):
                yield f"{each.node} has room"

    def _spills(self, next_us: int, fitting: list[Serving]) -> Iterator[str]:
        """Stronger ones have room, and it may use them soon."""
        wish = self.story.wish
        due_us = None if wish is None or self.story.spans else wish.due_us
        if all(map(self.is_full, fitting)):
            yield "nobody has room"
        if due_us is not None and next_us != due_us + SPILLS_US:
            yield f"until {next_us}, and it is due since {due_us}"

    def _begins_now(self) -> bool:
        """What it waited for has come with the question; it is told before it is given its slot."""
        starts = self.story.starts
        return any(self.asked.inv_us <= each.at_us <= self.to_us + STARTS_US for each in starts)

    def _some_left_out(self, names: list[str], fitting: list[Serving]) -> bool:
        """Whether somebody has failed so often that an owner may leave him out."""
        return any(self._fails(each) for each in fitting)

    def _fails(self, serving: Serving) -> bool:
        spans = self.stories.by_process.get(serving.process, [])
        return sum(each.ok is False and each.until_us <= self.to_us for each in spans) >= ENOUGH

    def _ahead(self, because: Because) -> Iterator[str]:
        """At least those of its crowd that are due before it and begin after this."""
        told, wish = because.detail("ahead"), self.story.wish
        if not self.nature.crowd or wish is None or wish.due_us is None or not told:
            return
        least = most = 0
        for other in self.stories.crowd(self.nature.crowd):
            if other.wish is None or other.owner != self.story.owner or not other.starts:
                continue
            due_us, first_us = other.wish.due_us or 0, min(s.at_us for s in other.starts)
            waits = other.sent_us > self.to_us + LAG_US and other.known_us < self.from_us
            least += waits and due_us < wish.due_us and due_us < self.from_us
            most += first_us > self.from_us and due_us < wish.due_us  # it may have been sent back
        if not least <= int(told) <= most:
            yield f"{told} go before it, where {least} to {most} do"

    def _capped(self, because: Because) -> Iterator[str]:
        caps = sum(dict(each.caps).get(self.nature.handler, 0) for each in self.fitting())
        if because.detail("cap") != str(caps):
            yield f"{caps} of its handler may run at once"
        for each in self.fitting():
            most, _ = self.at_work(self.stories.by_process[each.process])
            if most < self.room_of(each):
                yield f"{most} of its handler run at {each.node}"
        yield from self._ahead(because)

    def _left_out(self, because: Because) -> Iterator[str]:
        """They have failed, are named, and get nothing before they are let back."""
        names = because.detail("executors").split(", ")
        sick = [each for each in self.fitting() if self._fails(each)]
        if not set(names) <= {each.node for each in sick}:
            yield f"{names} are well"
        next_us = because.next_us or 0
        if not self.asked.inv_us - MS_US <= next_us <= self.to_us + LONGEST_LEAVE_US:
            yield f"let back at {next_us}"
        for each in sick:
            for span in self.stories.by_process[each.process]:
                owner = self.stories.of(span.start.task).owner
                if owner == self.story.owner and self.to_us + LAG_US < span.start.at_us < next_us:
                    yield f"{each.node} began {span.start.task} at {span.start.at_us} meanwhile"


ENOUGH: Final = 10
"""So many failures may make an executor be left out."""
_RULES: Final = {
    "RUNNING": May._running,
    "NOT_DUE": May._not_due,
    "DISPATCHED": May._dispatched,
    "STARTING": May._starting,
    "REVOKE_ASKED": May._revoke_asked,
    "MUTATION_IN_FLIGHT": May._in_flight,
    "NO_HANDLER": May._no_handler,
    "NO_LABEL": May._no_label,
    "EXECUTORS_UNREACHABLE": May._unreachable,
    "KEY_LIMIT": May._key_limit,
    "RATE_LIMIT": May._rate_limit,
    "EXECUTORS_FULL": May._busy,
    "HANDLER_CAP": May._capped,
    "EXECUTORS_LEFT_OUT": May._left_out,
}
