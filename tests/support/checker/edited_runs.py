"""What ran of a schedule that people change: which runs, with what, how many at once, how late."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace as replace_record

from tests.support.checker.base import NEVER_US
from tests.support.checker.records import Call, End, Kind, Left, Mode, Op, Start, Wish
from tests.support.checker.schedules import ENDS_US, LAUNCHED
from tests.support.checker.verdicts import Promise

if TYPE_CHECKING:
    from tests.support.checker.edits import Edited, Setting

TOLD_US = 1_000_000
"""So soon a run that is told to end has ended, when nothing is broken."""
SOON_US = 300_000
CLAIMS_US = 60_000
_COUNTED = {"SKIP": 1, "BUFFER_ONE": 1, "BUFFER": 1, "CANCEL_OTHER": 1}


@dataclass(slots=True)
class Runs:
    """The runs of one schedule. `wishes` are by payload: one name may be used several times."""

    wishes: dict[str, Wish] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    over: dict[str, int] = field(default_factory=dict)

    def note_end(self, end: End | Left) -> None:
        """A handler of one of these is over."""
        self.over[end.task] = max(end.at_us, self.over.get(end.task, 0))

    def spans(self) -> dict[str, tuple[int, int]]:
        """From when to when each run was surely at work."""
        found: dict[str, tuple[int, int]] = {}
        for start in self.starts:
            first_us = min(start.at_us, found.get(start.task, (NEVER_US, 0))[0])
            found[start.task] = (first_us, max(first_us, self.over.get(start.task, 0)))
        return found

    def busy(self, at_us: int) -> bool:
        """Whether a run was in hand, or had ended so recently that its owner may not know it."""
        return any(
            first - ENDS_US <= at_us <= last + ENDS_US for first, last in self.spans().values()
        )

    def judge(self, plan: Edited, settings: dict[int, Setting]) -> None:
        """All that is wrong with what ran."""
        launched = {each.task: each for each in plan.ledger if each.verdict == LAUNCHED}
        by_hand = triggers(plan.ops)
        self._triggered(plan, by_hand)
        first: dict[str, Start] = {}
        for start in self.starts:
            first.setdefault(start.task, start)
        doubtful = sum(op.kind is Kind.INFO for op in plan.ops if op.call is Call.TRIGGER_SCHEDULE)
        for task, start in first.items():
            if task in launched:
                verdict = launched[task]
                if start.nominal_us != verdict.nominal_us:
                    plan.broken(f"{task} of {verdict.nominal_us} ran as {start.nominal_us}")
                self._version(plan, start, settings.get(verdict.number), verdict.nominal_us)
            elif task in by_hand:
                self._by_hand(plan, start, by_hand[task])
            elif doubtful:
                doubtful -= 1
            else:
                plan.broken(f"{task} ran, but nothing has launched it")
        if plan.terms.calm:
            for task, verdict in launched.items():
                if task not in first:
                    plan.broken(f"nothing began for the launched nominal time {verdict.nominal_us}")
        self._in_time(plan, settings)
        self._after_each_other(plan)
        self._at_once(plan, settings)

    def _triggered(self, plan: Edited, by_hand: dict[str, list[Op]]) -> None:
        """One request launches one run, and each its own."""
        runs: dict[str, str] = {}
        for task, ops in by_hand.items():
            for op in ops:
                if runs.setdefault(op.request, task) != task:
                    text = f"one request launched {runs[op.request]} and {task}"
                    plan.broken(text, Promise.TRUTH)
                if op.request != ops[0].request:
                    plan.broken(f"two requests launched {task}", Promise.TRUTH)
        for op in plan.ops:
            good = op.call is Call.TRIGGER_SCHEDULE and op.kind is Kind.OK
            if good and (op.plan is None or not op.plan.run):
                plan.broken(f"a trigger at {op.ret_us} names no run", Promise.TRUTH)

    def _by_hand(self, plan: Edited, start: Start, ops: list[Op]) -> None:
        """Its own time is that of the request, and it runs as the version of then says."""
        early_us, asked = plan.terms.early_us, ops[0]
        nominal_us = -1 if start.nominal_us is None else start.nominal_us
        if not asked.inv_us - early_us - 1_000 <= nominal_us <= asked.ret_us + early_us:
            plan.broken(f"{start.task} was launched by hand at {asked.inv_us}, not at {nominal_us}")
        setting = next(
            (each for each in reversed(plan.settings) if each.op.ret_us <= asked.inv_us), None
        )
        if setting is not None and start.version != setting.op.version:
            text = f"{start.task} was given {start.version}, not {setting.op.version}"
            plan.broken(text, Promise.REVISION)

    def _version(self, plan: Edited, start: Start, setting: Setting | None, at_us: int) -> None:
        """What a nominal time runs is what its version says; one that waited, a later one's."""
        if setting is None:
            return
        exact = plan.terms.calm and setting.rhythm.overlap in ("SKIP", "ALLOW", "TERMINATE_OTHER")
        before = 0 if plan.terms.calm else 1
        may = [
            each.op.version
            for each in plan.settings
            if setting.number - before <= each.number
            and (not exact or each is setting)
            and (each is setting or each.op.inv_us - plan.terms.early_us <= start.at_us)
            and each.life == setting.life
        ]
        if start.version not in may:
            text = f"{start.task} of {at_us} was given {start.version}, not {' or '.join(may)}"
            plan.broken(text, Promise.REVISION)

    def _in_time(self, plan: Edited, settings: dict[int, Setting]) -> None:
        """A launched time begins at once, or when what it waits for is over (calm runs)."""
        spans = self.spans()
        for verdict in plan.ledger:
            setting = settings.get(verdict.number)
            if verdict.task not in spans or setting is None:
                continue
            began_us, at_us = spans[verdict.task][0], verdict.nominal_us
            decided_us = at_us + (verdict.late_us or 0)
            if plan.terms.calm and decided_us > began_us + 2_000:
                text = f"{verdict.task} began at {began_us}, and {at_us} was decided later"
                plan.broken(text, Promise.TRUTH)
            if not plan.terms.calm or began_us <= at_us + SOON_US:
                continue
            others = (span for task, span in spans.items() if task != verdict.task)
            held = any(first <= began_us <= last + SOON_US for first, last in others)
            rested = any(
                each.maybe[0] <= began_us and at_us <= each.maybe[1] for each in plan.pauses
            )
            waited = setting.rhythm.overlap in ("BUFFER_ONE", "BUFFER", "CANCEL_OTHER")
            if not waited or not (held or rested):
                text = f"{verdict.task} began {began_us - at_us} us late without any fault"
                plan.broken(text, Promise.PUNCTUAL)
            limit_us = setting.rhythm.waits_us
            if any(at_us < each.op.ret_us and each.op.inv_us < began_us for each in plan.settings):
                limit_us = None
            if limit_us is not None and began_us > at_us + limit_us + SOON_US and not rested:
                plan.broken(f"{verdict.task} waited {began_us - at_us} us, {limit_us} at most")

    def _after_each_other(self, plan: Edited) -> None:
        """A time comes a delay after the end of the run before; without faults, no later (I6).

        What was launched by hand puts it off only if it is at work when the run before ends.
        """
        spans, delay_us = self.spans(), plan.settings[-1].rhythm.delay_us
        if not delay_us:
            return
        slack_us = 2 * plan.terms.early_us + 2_000
        launched = {each.nominal_us: each.task for each in plan.ledger if each.verdict == LAUNCHED}
        over_us = min([plan.terms.read_us, *(op.inv_us for op in plan.ends)])
        before_us = plan.settings[0].after_us
        for at_us in [*sorted(launched), NEVER_US]:
            if at_us < before_us + delay_us - slack_us:
                plan.broken(f"{at_us} came {at_us - before_us} us after a run, not {delay_us}")
            others = [last for first, last in spans.values() if first < at_us]
            asked = [each.op.ret_us for each in plan.settings if each.op.inv_us < at_us]
            due_us = max([before_us, *others, *asked]) + delay_us + 2 * SOON_US
            if plan.terms.calm and due_us < min(at_us, over_us):
                plan.broken(f"nothing came by {due_us}, after {before_us}", Promise.LIVE)
            before_us = spans.get(launched.get(at_us, ""), (0, before_us))[1]

    def _at_once(self, plan: Edited, settings: dict[int, Setting]) -> None:
        """No more runs of the calendar than the rule says; who was told to end has ended (I7)."""
        spans = self.spans()
        numbers = {each.task: each.number for each in plan.ledger if each.verdict == LAUNCHED}
        counted = sorted((spans[task], task) for task in numbers if task in spans)
        working: list[tuple[int, str]] = []
        for (first_us, last_us), task in counted:
            working = [each for each in working if each[0] > first_us]
            setting = settings.get(numbers[task])
            if setting is not None and not _changes_soon(plan, first_us):
                self._beside(plan, setting, task, first_us, working)
            working.append((last_us, task))

    def _beside(
        self,
        plan: Edited,
        setting: Setting,
        task: str,
        first_us: int,
        working: list[tuple[int, str]],
    ) -> None:
        rule = setting.rhythm
        most = _COUNTED.get(rule.overlap, rule.places if rule.overlap == "ALLOW" else 0)
        if most and len(working) >= most:
            others = ", ".join(f"{other} ran until {end_us}" for end_us, other in working)
            plan.broken(f"{task} began at {first_us} while {others}", Promise.NO_OVERLAP)
        if rule.overlap != "TERMINATE_OTHER" or not plan.terms.calm:
            return
        for end_us, other in working:
            if end_us > first_us + TOLD_US:
                text = f"{other} ran until {end_us}, but {task} began at {first_us} in its place"
                plan.broken(text, Promise.NO_OVERLAP)


def _changes_soon(plan: Edited, at_us: int) -> bool:
    """Whether the rule may have changed after a run that waited was named, or just then."""
    early_us = plan.terms.early_us
    return any(
        each.op.inv_us - early_us - ENDS_US <= at_us <= each.op.ret_us + early_us + 5 * ENDS_US
        for each in plan.settings
    )


def triggers(ops: list[Op]) -> dict[str, list[Op]]:
    """The requests that launched runs by hand, by run."""
    found: dict[str, list[Op]] = {}
    for op in ops:
        good = op.call is Call.TRIGGER_SCHEDULE and op.kind is Kind.OK
        if good and op.plan is not None and op.plan.run:
            found.setdefault(op.plan.run, []).append(op)
    return found


def wishes_of(plan: Edited) -> dict[str, tuple[Wish, int, list[Op]]]:
    """For each run: what it is asked to do, not before when, and who may have told it to end."""
    found: dict[str, tuple[Wish, int, list[Op]]] = {}
    first: dict[str, Start] = {}
    for start in plan.runs.starts:
        first.setdefault(start.task, start)
    early_us = plan.terms.early_us
    asks = [
        each for each in plan.settings if each.rhythm.overlap in ("CANCEL_OTHER", "TERMINATE_OTHER")
    ]
    names = {each.task: each.nominal_us for each in plan.ledger if each.verdict == LAUNCHED}
    by_hand = {task: ops[0].inv_us for task, ops in triggers(plan.ops).items()}
    for task, at_us in (names | by_hand).items():
        began = first.get(task)
        wish = _asked(plan, at_us) if began is None else plan.runs.wishes[began.payload]
        wanted = replace_record(
            wish,
            due_us=at_us if task in names else None,
            version="" if began is None else began.version,
        )
        told = [
            Op(client="schedule", call=Call.CANCEL, inv_us=at_us, task=task)
            for each in asks
            if each.maybe_us + ENDS_US >= at_us
        ]
        found[task] = (wanted, at_us - early_us, told[:1])
    return found


def _asked(plan: Edited, at_us: int) -> Wish:
    """What a run of that time was asked to do, if it never began: by the life of its name.

    Where clocks leave two lives to choose from, what promises less.
    """
    early_us = plan.terms.early_us
    made = [op for op in plan.ops if op.call is Call.CREATE_SCHEDULE and op.wish is not None]
    ends_us = [*(op.ret_us for op in made[1:]), NEVER_US]
    wishes = [
        op.wish
        for op, end_us in zip(made, ends_us, strict=True)
        if op.wish is not None and op.inv_us <= at_us + early_us and end_us >= at_us - early_us
    ]
    once = [wish for wish in wishes if wish.mode is Mode.AT_MOST_ONCE]
    return (once or wishes or list(plan.runs.wishes.values()))[0]
