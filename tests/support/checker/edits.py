"""Schedules that people change while they fire, version by version (I6, I7, I11, I12).

What was asked and answered says which versions there are, one after the other; the list of
versions says after which instant each names times, and must lie within the request that made it.
Between these instants an oracle counts the nominal times: each has one verdict, of its version, and
no other has any. Pauses, limits and ends are bounded by the calls and answers of those who asked.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.checker.base import NEVER_US
from tests.support.checker.caught_up import MISSED, caught_up, waits
from tests.support.checker.edited_runs import Runs
from tests.support.checker.history import History
from tests.support.checker.records import (
    OF_SCHEDULES,
    Away,
    Call,
    End,
    Kind,
    Left,
    Op,
    Rhythm,
    SeenPlan,
    Terms,
    Verdict,
)
from tests.support.checker.schedules import LAUNCHED, nominal_times
from tests.support.checker.verdicts import Promise, Violation

PAUSED, CANCELLED = "PAUSED", "CANCELLED"
MADE = frozenset({Call.CREATE_SCHEDULE, Call.UPDATE_SCHEDULE})
CHANGES = MADE | {Call.PAUSE_SCHEDULE, Call.RESUME_SCHEDULE, Call.END_SCHEDULE}
STALE, OVER, NEVER_FIRES = "STALE_ETAG", "FAILED_PRECONDITION", "INVALID_REQUEST"
SETTLE_US = 5_000_000


@dataclass(slots=True)
class Setting:
    """One version: what it says, and between which instants it names times.

    Attributes:
        life: which of the schedules of this name it belongs to.
        surely_us: up to here its times surely count; `maybe_us`: up to here they may.
    """

    number: int
    life: int
    op: Op
    after_us: int = -1
    surely_us: int = NEVER_US
    maybe_us: int = NEVER_US

    @property
    def rhythm(self) -> Rhythm:
        """What it says of time and rules."""
        if self.op.rhythm is None:
            raise ValueError("whoever makes a version names its rhythm")
        return self.op.rhythm


@dataclass(frozen=True, slots=True)
class Pause:
    """From when to when a schedule was paused: surely, and possibly."""

    surely: tuple[int, int]
    maybe: tuple[int, int]


@dataclass(slots=True)
class _Known:
    """What answers have told so far."""

    now: Setting | None = None
    etag: int = 0
    life: int = 0
    paused: Op | None = None
    ended: bool = True
    requests: dict[str, Op] = field(default_factory=dict)


@dataclass(slots=True)
class Edited:
    """One schedule, all that was asked of it, and what became of it."""

    task: str
    terms: Terms
    ops: list[Op] = field(default_factory=list)
    ledger: list[Verdict] = field(default_factory=list)
    editions: dict[int, int] = field(default_factory=dict)
    away: list[Away] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    ends: list[Op] = field(default_factory=list)
    runs: Runs = field(default_factory=Runs)
    found: list[Violation] = field(default_factory=list)

    def broken(self, text: str, promise: Promise = Promise.SCHEDULE) -> None:
        """Note a violation of this schedule's."""
        self.found.append(Violation(promise, self.task, text))

    # Answers ------------------------------------------------------------------------------------

    def read(self) -> None:
        """Go through the answers: which versions there are, and what each answer should say."""
        known = _Known()
        for op in sorted(self.ops, key=lambda each: each.ret_us):
            plan = op.plan
            if op.kind is not Kind.OK or plan is None:
                self._refused(op, known)
                continue
            changes = self._changes(op, known)
            if changes and op.call in MADE:
                number = 1 if known.now is None else known.now.number + 1
                known.now = Setting(number, known.life, op)
                self.settings.append(known.now)
            known.ended = plan.ended
            if known.now is not None:
                self._says(op, plan, known.now, known.etag + changes, known)
            known.etag = max(known.etag, plan.etag)
        self._resumed(known, None)
        self._bound()

    def _changes(self, op: Op, known: _Known) -> bool:
        """Whether it changes what there is; notes pauses, ends and lives."""
        paused = known.paused is not None
        match op.call:
            case Call.CREATE_SCHEDULE if op.request not in known.requests:
                known.requests[op.request] = op
                known.life += 1
                if not known.ended and known.now is not None and not _may_be_over(known.now):
                    self.broken(f"made once more at {op.ret_us}, though it lives")
                self._resumed(known, op)
                return True
            case Call.UPDATE_SCHEDULE if known.now is not None:
                return (op.rhythm, op.version) != (known.now.op.rhythm, known.now.op.version)
            case Call.PAUSE_SCHEDULE:
                known.paused = known.paused or op
                return not paused
            case Call.RESUME_SCHEDULE:
                self._resumed(known, op)
                return paused
            case Call.END_SCHEDULE if not known.ended:
                self.ends.append(op)
        return False

    def _resumed(self, known: _Known, op: Op | None) -> None:
        if known.paused is not None:
            self.pauses.append(_pause(known.paused, op, self.terms.early_us))
        known.paused = None

    def _says(self, op: Op, plan: SeenPlan, now: Setting, etag: int, known: _Known) -> None:
        """What an answer says of etag, version, pause and end."""
        if plan.number != now.number:
            self.broken(f"{_named(op)} shows version {plan.number}, not {now.number}", TRUTH)
        wanted = {etag}
        if op.call is Call.END_SCHEDULE:
            wanted = {etag, etag + 1}  # whoever ends by himself has no further etag
        elif op.call is Call.CREATE_SCHEDULE:
            wanted = {etag, etag + 1} if known.etag else {plan.etag}
        if plan.etag not in wanted:
            self.broken(f"{_named(op)} shows etag {plan.etag}, not {etag}", TRUTH)
        if op.etag and etag > known.etag != op.etag:
            self.broken(f"{_named(op)} holds for etag {op.etag}, not {known.etag}", REVISION)
        if not plan.ended:
            self._lives(op, plan, now, known)
        elif op.call is not Call.END_SCHEDULE and not _may_be_over(now):
            self.broken(f"{_named(op)} shows an end that nobody asked for", TRUTH)

    def _lives(self, op: Op, plan: SeenPlan, now: Setting, known: _Known) -> None:
        if plan.paused != (known.paused is not None):
            self.broken(f"{_named(op)} shows paused {plan.paused}", TRUTH)
        if op.call is Call.END_SCHEDULE:
            self.broken(f"{_named(op)} shows that it lives", TRUTH)
        self._foretold(op, now)

    def _foretold(self, op: Op, now: Setting) -> None:
        """What is said to be next is a nominal time, and after a change the first one to come."""
        next_us = None if op.plan is None else op.plan.next_us
        rhythm, early_us = now.rhythm, self.terms.early_us
        if next_us is None:
            if not _may_be_over(now) and not rhythm.delay_us:
                self.broken(f"{_named(op)} says that nothing is to come")
            return
        if rhythm.delay_us:
            return
        if next_us not in nominal_times(rhythm, next_us - 1, next_us):
            self.broken(f"{_named(op)} says that {next_us} is next, no nominal time of it")
        first = next(nominal_times(rhythm, op.ret_us + early_us, next_us - 1), None)
        if first is not None:
            self.broken(f"{_named(op)} says that {next_us} is next, but {first} is")
        paused = op.plan is not None and op.plan.paused
        if paused or op.call is Call.TRIGGER_SCHEDULE or not self.terms.calm:
            return
        slack_us = 0 if op.call in CHANGES and op.ret_us == _first(self.ops, op).ret_us else LATE_US
        if next_us <= op.inv_us - slack_us:
            self.broken(f"{_named(op)}, asked at {op.inv_us}, says that {next_us} is to come")

    def _refused(self, op: Op, known: _Known) -> None:
        """Whether there was a reason to refuse it."""
        now, ended = known.now, known.ended
        if op.kind is not Kind.FAIL:
            return
        if op.reason == STALE and op.etag == known.etag:
            rivals = (each for each in self.ops if each.kind is not Kind.FAIL and each is not op)
            changed = any(
                each.call in CHANGES and each.inv_us < op.ret_us < each.ret_us for each in rivals
            )
            if not changed:
                self.broken(f"{_named(op)} was refused, though its etag holds", REVISION)
        elif op.reason == OVER and not (ended or now is None or _may_be_over(now)):
            self.broken(f"{_named(op)} was refused as if it had ended", LIVE)
        elif op.reason == NEVER_FIRES and not self._never_fires(op):
            self.broken(f"{_named(op)} was refused as if it would never fire")

    def _never_fires(self, op: Op) -> bool:
        """Whether what was asked for may have nothing to come."""
        rhythm = op.rhythm
        if rhythm is None or rhythm.delay_us:
            return False
        if rhythm.max_runs:
            return True
        return next(nominal_times(rhythm, op.ret_us + self.terms.early_us, NEVER_US), None) is None

    def _bound(self) -> None:
        """Between which instants each version names times."""
        early_us = self.terms.early_us
        for setting in self.settings:
            after_us = self.editions.get(setting.number)
            if after_us is None:
                self.broken(f"version {setting.number} is not listed", Promise.DURABLE)
                after_us = setting.op.inv_us
            earliest_us, latest_us = setting.op.inv_us - early_us - MS, setting.op.ret_us + early_us
            if not earliest_us <= after_us <= latest_us:
                text = f"version {setting.number} names times after {after_us}, asked for at "
                self.broken(f"{text}{setting.op.inv_us}, answered at {setting.op.ret_us}")
            setting.after_us = after_us
        for number in self.editions:
            if not any(setting.number == number for setting in self.settings):
                self.broken(f"version {number} is listed, and nobody was told of it", TRUTH)
        for earlier, later in pairwise(self.settings):
            earlier.surely_us = earlier.maybe_us = later.after_us
        for setting in self.settings:
            over = [op for op in self.ends if op.ret_us > setting.op.ret_us]
            if over:
                setting.surely_us = min(setting.surely_us, over[0].inv_us - early_us)
                setting.maybe_us = min(setting.maybe_us, over[0].ret_us + early_us)

    # The ledger ---------------------------------------------------------------------------------

    def judge(self) -> list[Violation]:
        """All that is wrong with it."""
        if any(op.kind is Kind.INFO and op.call in CHANGES for op in self.ops):
            return []  # nobody knows which versions there are
        self.read()
        decided: dict[int, list[Verdict]] = defaultdict(list)
        for verdict in self.ledger:
            decided[verdict.nominal_us].append(verdict)
        for at_us, verdicts in decided.items():
            if len(verdicts) > 1:
                self.broken(f"{len(verdicts)} verdicts at one nominal time {at_us}")
            self._verdict(at_us, verdicts[0])
        for setting in self.settings:
            self._complete(setting, decided)
        self._counted(decided)
        for away in self.away:
            caught_up(self, away, decided)
        by_number = {setting.number: setting for setting in self.settings}
        self.runs.judge(self, by_number)
        return self.found

    def _verdict(self, at_us: int, verdict: Verdict) -> None:
        """Whether a time may have been named by its version, and decided like this."""
        setting = self.setting(verdict.number)
        if setting is None:
            self.broken(f"{verdict.verdict} at {at_us}, of version {verdict.number} that never was")
            return
        until_us = min(setting.maybe_us, self.terms.read_us)
        if not setting.after_us < at_us <= until_us or not _names(setting.rhythm, at_us):
            text = f"{verdict.verdict} at {at_us}, no nominal time of version {setting.number}"
            self.broken(f"{text}, which names those from {setting.after_us} to {until_us}")
        surely = any(each.surely[0] < at_us < each.surely[1] for each in self.pauses)
        maybe = any(each.maybe[0] <= at_us <= each.maybe[1] for each in self.pauses)
        if surely and verdict.verdict not in (PAUSED, CANCELLED):
            self.broken(f"{verdict.verdict} at {at_us}, in a pause")
        if verdict.verdict == PAUSED and not maybe:
            self.broken(f"PAUSED at {at_us}, when it was not")
        if verdict.verdict not in (LAUNCHED, PAUSED):
            self._passed_over(at_us, verdict, setting, maybe)
        if verdict.late_us is not None and verdict.down_us > verdict.late_us:
            self.broken(f"{verdict.down_us} us of {verdict.late_us} late at {at_us}: nobody there")
        if self.terms.calm and verdict.down_us:
            self.broken(f"nobody was there for {verdict.down_us} us after {at_us}", TRUTH)

    def _passed_over(self, at_us: int, verdict: Verdict, setting: Setting, paused: bool) -> None:
        """What is not launched needs a rule, an end, or a fault around its time."""
        rhythm, terms = setting.rhythm, self.terms
        if verdict.verdict == CANCELLED:
            over = [op for op in self.ends if at_us <= op.ret_us + terms.early_us]
            soon_us = 0 if paused or waits(rhythm) else LATE_US
            if over and (not soon_us or over[0].inv_us - at_us <= soon_us + terms.early_us):
                return
        elif verdict.verdict == too_many(rhythm):
            if terms.calm and not self.runs.busy(at_us):
                self.broken(f"{verdict.verdict} at {at_us} with no run in hand")
            return
        elif verdict.verdict == MISSED and waits(rhythm) and self._limits_waiting(setting):
            return
        healed_us = terms.healed_us + (terms.recover_us or NEVER_US)
        if terms.calm:
            self.broken(f"{verdict.verdict} at {at_us} without any fault")
        elif at_us > healed_us:
            self.broken(f"{verdict.verdict} at {at_us} though all was healed", LIVE)

    def _limits_waiting(self, setting: Setting) -> bool:
        """Whether a time may have waited too long: by its version, or by a later one."""
        later = (each for each in self.settings if each.number >= setting.number)
        return any(each.rhythm.waits_us is not None for each in later)

    def _complete(self, setting: Setting, decided: dict[int, list[Verdict]]) -> None:
        """Each time that a version surely names has its verdict."""
        terms, rhythm = self.terms, setting.rhythm
        until_us = min(setting.surely_us, terms.read_us - SETTLE_US - terms.early_us)
        launched = self._launched(setting.life, decided)
        if rhythm.max_runs and len(launched) >= rhythm.max_runs:
            until_us = min(until_us, launched[-1])
        if rhythm.delay_us:
            return  # that depends on when runs end
        for at_us in nominal_times(rhythm, setting.after_us, until_us):
            if at_us not in decided:
                self.broken(f"{at_us} of version {setting.number} has no verdict", LIVE)

    def _launched(self, life: int, decided: dict[int, list[Verdict]]) -> list[int]:
        numbers = [each.number for each in self.settings if each.life == life]
        return sorted(
            at_us
            for at_us, (first, *_) in decided.items()
            if first.verdict == LAUNCHED and first.number in numbers
        )

    def _counted(self, decided: dict[int, list[Verdict]]) -> None:
        """No more are launched than were wanted, and who ended tells how many there were."""
        last = {setting.life: setting for setting in self.settings}
        for life, setting in last.items():
            launched = len(self._launched(life, decided))
            most = setting.rhythm.max_runs
            if most and launched > most:
                self.broken(f"launched {launched} times, {most} were wanted")
            for op in self.ops:
                plan = op.plan
                if plan is None or not plan.ended or plan.number != setting.number:
                    continue
                if plan.runs != launched:
                    self.broken(f"{_named(op)} tells of {plan.runs} runs, of {launched}", TRUTH)

    def setting(self, number: int) -> Setting | None:
        """The version of a number."""
        return next((each for each in self.settings if each.number == number), None)


MS = 1_000
LATE_US = 300_000
"""What it takes to decide, when nothing is broken."""
TRUTH, LIVE, REVISION = Promise.TRUTH, Promise.LIVE, Promise.REVISION


def too_many(rhythm: Rhythm) -> str:
    """The verdict on a time for which there is no place."""
    if rhythm.overlap in ("SKIP", "BUFFER_ONE", "CANCEL_OTHER"):
        return "SKIPPED_OVERLAP"
    if rhythm.overlap == "BUFFER":
        return "SKIPPED_OVERLAP" if rhythm.places == 1 else "DROPPED_LIMIT"
    return "DROPPED_LIMIT" if rhythm.overlap == "ALLOW" and rhythm.places else ""


def _names(rhythm: Rhythm, at_us: int) -> bool:
    """Whether it may name this time; that of a delay is judged by when runs end."""
    return bool(rhythm.delay_us) or at_us in nominal_times(rhythm, at_us - 1, at_us)


def _may_be_over(setting: Setting) -> bool:
    """Whether it ends by itself."""
    return bool(setting.rhythm.max_runs) or setting.rhythm.end_us is not None


def _pause(paused: Op, resumed: Op | None, early_us: int) -> Pause:
    over_us = (NEVER_US, NEVER_US) if resumed is None else (resumed.inv_us, resumed.ret_us)
    surely = (paused.ret_us + early_us, over_us[0] - early_us)
    return Pause(surely, (paused.inv_us - early_us - MS, over_us[1] + early_us))


def _named(op: Op) -> str:
    return f"the answer to {op.call} at {op.ret_us}"


def _first(ops: list[Op], op: Op) -> Op:
    """The first operation of a request: what is repeated says what holds by now."""
    return next((each for each in ops if op.request and each.request == op.request), op)


def edited(history: History) -> list[Edited]:
    """Every schedule that people may change, and of which somebody was told that it exists."""
    found: dict[str, Edited] = {}
    owner: dict[str, Edited] = {}
    for op in history.ops:
        made = op.call is Call.CREATE_SCHEDULE and op.rhythm is not None and op.rhythm.edited
        if made and op.wish is not None and op.kind is Kind.OK:
            one = found.setdefault(op.task, Edited(op.task, history.terms, away=history.away))
            owner[op.wish.payload] = one
            one.runs.wishes[op.wish.payload] = op.wish
    if not found:
        return []
    for op in history.ops:
        if op.call in OF_SCHEDULES and op.task in found:
            found[op.task].ops.append(op)
    for verdict in history.verdicts:
        if verdict.schedule in found:
            found[verdict.schedule].ledger.append(verdict)
    for edition in history.editions:
        if edition.schedule in found:
            found[edition.schedule].editions[edition.number] = edition.after_us
    _share_runs(history, owner)
    return list(found.values())


def _share_runs(history: History, owner: dict[str, Edited]) -> None:
    """Give each schedule what began with its payload, and when that surely ended."""
    by_run: dict[str, Edited] = {}
    for start in history.starts:
        if start.payload in owner:
            by_run[start.task] = owner[start.payload]
            owner[start.payload].runs.starts.append(start)
    struck = frozenset(fault.scope for fault in history.faults if fault.gives_up)
    over: list[End | Left] = [*history.ends, *history.left]
    for end in over:
        if end.task in by_run and end.process not in struck:
            by_run[end.task].runs.note_end(end)
