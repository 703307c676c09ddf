"""Progress and checkpoints: nothing that was said is lost, made up or late (I25).

Whoever goes on finds what the attempts before have left: all of it, if their executors lived to say
how they ended. If one was lost, at most what was not passed on yet; if its owner was lost beside
it, at most what was not written down yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.checker.base import NEVER_US
from tests.support.checker.history import History
from tests.support.checker.questions import Asked
from tests.support.checker.records import End, Left, Terms
from tests.support.checker.verdicts import Promise, Violation
from tests.support.checker.words import Found, Glance, Said

COARSE_US = 2_000
ARRIVES_US = 200_000
"""What is passed on is known by then, where nothing is broken; what is moved included."""
LOST_US = 1_000_000
"""The same, before somebody is lost."""
WRITTEN_US = 60_000_000
"""What runs is written down so often, or as often as four times in its life until then."""
AGE_SHARE = 4
Run = tuple[int, str]


@dataclass(slots=True)
class Report:
    """One task whose handler speaks: all of it, each kind in the order of its instants."""

    task: str
    found: list[Found] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    over_us: dict[Run, int] = field(default_factory=dict)
    cut_us: dict[Run, int] = field(default_factory=dict)
    shards: set[int] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)
    glances: list[Glance] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def words_of(self, run: Found, until_us: int = NEVER_US) -> list[Said]:
        """What one attempt has said by then."""
        return [each for each in self.said if _run(each) == _run(run) and each.at_us <= until_us]


def progress(history: History) -> Iterator[Violation]:
    """All words that were lost, made up or late, and silence that was judged wrongly."""
    losses = Losses(history)
    for report in _reports(history):
        judged = [_goes_on(report, losses), _shown(report, history.terms)]
        if history.terms.calm:
            judged += [_given_up(report, losses), _explained(report)]
        for texts in judged:
            for text in texts:
                yield Violation(Promise.PROGRESS, report.task, text)


class Losses:
    """When who was struck, so that what he knew may be lost."""

    def __init__(self, history: History) -> None:
        self._first: dict[str, int] = {}
        self.calm = history.terms.calm
        self.epochs: dict[int, set[int]] = {}
        for fault in history.faults:
            self._note(fault.scope, fault.at_us)
        for serving in () if self.calm else history.serving:
            self._note(serving.process, serving.until_us)
        for claim in history.claims:
            self.epochs.setdefault(claim.shard, set()).add(claim.epoch)
        processes = {each.process for each in history.serving}
        processes |= {claim.owner for claim in history.claims}
        processes |= {each.process for each in history.found}
        strange = [at_us for who, at_us in self._first.items() if who not in processes]
        self.anywhere_us = min(strange, default=NEVER_US)

    def _note(self, who: str, at_us: int) -> None:
        self._first[who] = min(at_us, self._first.get(who, NEVER_US))

    def of(self, who: str) -> int:
        """When somebody was struck first."""
        return self._first.get(who, NEVER_US)

    def sure_us(self, report: Report, former: Found, at_us: int) -> int:
        """Until when what a former attempt said must be known, whoever was lost by then."""
        gone_us = self.of(former.process)
        if gone_us > at_us:
            return at_us
        owner_us = min(map(self.of, report.owners), default=NEVER_US)
        if min(owner_us, self.anywhere_us) > at_us:
            return gone_us - former.apart_us - LOST_US
        same = all(len(self.epochs.get(shard, ())) <= OWNERS_OF_A_LOSS for shard in report.shards)
        if not same or self.anywhere_us <= at_us:
            return 0
        first_us = min(gone_us, owner_us)
        written_us = max(WRITTEN_US, (first_us - former.at_us) // AGE_SHARE)
        return first_us - written_us - former.apart_us - LOST_US


OWNERS_OF_A_LOSS = 2
"""The one that is lost, and who comes after it: nobody else can have forgotten anything."""


def _run(each: Said | Found | End | Left) -> Run:
    return each.attempt, each.process


def _reports(history: History) -> Iterator[Report]:
    found: dict[str, Report] = {}
    for each in history.found:
        found.setdefault(each.task, Report(each.task)).found.append(each)
    for word in history.said:
        found[word.task].said.append(word)
    _over(found, history)
    for sent in history.sent:
        if sent.task in found:
            found[sent.task].shards.add(sent.shard)
            found[sent.task].owners.add(sent.owner)
    for glance in history.glances:
        if glance.task in found:
            found[glance.task].glances.append(glance)
    for asked in history.asked:
        if asked.task in found:
            found[asked.task].asked.append(asked)
    yield from found.values()


def _over(found: dict[str, Report], history: History) -> None:
    """When attempts were over, and which of them were made to end."""
    ended: list[End | Left] = [*history.ends, *history.left]
    for each in ended:
        if each.task in found:
            found[each.task].over_us[_run(each)] = each.at_us
            if isinstance(each, Left) and not each.handed_back:
                found[each.task].cut_us[_run(each)] = each.at_us


def _goes_on(report: Report, losses: Losses) -> Iterator[str]:
    """Each attempt is given the newest mark that must be known, or a newer one of its task."""
    said_us = {word.mark: word.at_us for word in report.said if word.mark}
    for number, found in enumerate(report.found):
        mark_us = said_us.get(found.mark, NEVER_US) if found.mark else 0
        if mark_us > found.at_us:
            yield f"attempt {found.attempt} was to go on from {found.mark!r}, which nobody left"
        for former in reversed(report.found[:number]):
            if former.attempt > found.attempt:
                continue  # its executor was given up, and began it late
            sure_us = losses.sure_us(report, former, found.at_us)
            marks = [word for word in report.words_of(former, sure_us) if word.mark]
            if not marks:
                continue
            if mark_us < marks[-1].at_us:
                text = f"attempt {found.attempt} was to go on from {found.mark!r}"
                yield f"{text}, and {marks[-1].mark!r} was left at {marks[-1].at_us}"
            break


def _given_up(report: Report, losses: Losses) -> Iterator[str]:
    """Who falls silent is given up: so long after its last word, and not much later."""
    moved = any(len(losses.epochs.get(shard, ())) > 1 for shard in report.shards)
    for found in report.found:
        limit_us, cut_us = found.silent_us, report.cut_us.get(_run(found))
        words = report.words_of(found)
        last_us = words[-1].at_us if words else found.at_us
        if cut_us is not None and (limit_us is None or cut_us < last_us + limit_us - COARSE_US):
            yield f"attempt {found.attempt} was given up {cut_us - last_us} us after its last word"
        if limit_us is None:
            continue
        over_us = report.over_us.get(_run(found), NEVER_US)
        latest_us = last_us + found.apart_us + (1 + moved) * limit_us + ARRIVES_US
        if over_us > latest_us:
            yield f"attempt {found.attempt} was silent beyond {latest_us}, and over at {over_us}"


def _shown(report: Report, terms: Terms) -> Iterator[str]:
    """Answers show what was said, in that attempt, and where nothing is broken the newest of it."""
    for glance in report.glances:
        words = [word for word in report.said if word.at_us <= glance.ret_us]
        shown = [word for word in words if word.fraction == glance.fraction]
        if glance.fraction is not None and not shown:
            yield f"{glance.fraction} is shown at {glance.ret_us}, and nobody has said so"
        if glance.mark and not any(word.mark == glance.mark for word in words):
            yield f"{glance.mark!r} is shown at {glance.ret_us}, and nobody has left it"
        sure = _sure(report, glance.attempt, glance.inv_us, glance.ret_us) if terms.calm else []
        if sure and (not shown or shown[-1].at_us < sure[-1].at_us):
            text = f"{glance.fraction} is shown at {glance.inv_us}"
            yield f"{text}, and {sure[-1].fraction} was said at {sure[-1].at_us}"
        marks = [word.mark for word in sure if word.mark]
        later = marks[-1:] + [word.mark for word in words if sure and word.at_us > sure[-1].at_us]
        if marks and glance.mark not in later:
            yield f"{glance.mark!r} is shown at {glance.inv_us}, and {marks[-1]!r} was left"


def _sure(report: Report, attempt: int, from_us: int, to_us: int) -> list[Said]:
    """What an attempt that ran all the time had said so early that everybody must know."""
    for found in report.found:
        over_us = report.over_us.get(_run(found), NEVER_US)
        if found.attempt == attempt and found.at_us <= from_us and over_us > to_us:
            return report.words_of(found, from_us - found.apart_us - ARRIVES_US)
    return []


def _explained(report: Report) -> Iterator[str]:
    """Who asks why it does not run is told how far it is, and when it would be given up."""
    for asked in report.asked:
        running = [each for each in asked.because if each.cause == "RUNNING"]
        for because in running:
            attempt, told = int(because.detail("attempt")), because.detail("progress")
            words = [word for word in report.said if word.at_us <= asked.ret_us]
            shown = [word for word in words if f"{word.fraction:g}" == told]
            if told and not shown:
                yield f"{told} is told at {asked.ret_us}, and nobody has said so"
            sure = _sure(report, attempt, asked.inv_us, asked.ret_us)
            if sure and (not shown or shown[-1].at_us < sure[-1].at_us):
                yield f"{told!r} is told at {asked.inv_us}, and {sure[-1].fraction} was said"
            limit_us = report.found[0].silent_us
            if limit_us is None or not sure:
                continue
            soonest_us, latest_us = sure[-1].at_us + limit_us, asked.ret_us + limit_us
            next_us = because.next_us
            if next_us is None or not (soonest_us - COARSE_US <= next_us <= latest_us + COARSE_US):
                text = f"it would be given up at {next_us}"
                yield f"{text}, not between {soonest_us} and {latest_us}"
