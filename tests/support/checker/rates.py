"""Limits: rates that are kept and used, caps of executors, and shares of namespaces (I17).

A start is decided a moment before it is seen. Where something is broken that moment may be long, so
that only all starts since the limit was set are counted; owners that come and go add what they
may have saved up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.checker.bounds import Rate
from tests.support.checker.history import History
from tests.support.checker.keys import Spans, crowds, spans_of
from tests.support.checker.records import Call, Kind, Op, Start, Wish
from tests.support.checker.verdicts import Promise, Violation

READ_US = 2_500_000
"""So long after it was set a limit holds everywhere; the one before may hold until then."""
DECIDED_US = 60_000
"""A start is seen so long after it was decided, where nothing is broken."""
SLACK_US = 1_000_000
USED = 1.15
"""What is waited for is used, but for a little: starts take longer by this factor at most."""
RANKED_US = 150_000
SHARE_OFF = 0.12
FEWEST_OF_CROWD = 30
LAST_OF_CROWD = 5
"""Towards the end a tenant may have nothing left that has not been decided yet."""


@dataclass(slots=True)
class _Line:
    """All that counts for one rate, in order of time."""

    rates: list[Rate]
    starts: list[Start] = field(default_factory=list)
    made: dict[str, Op] = field(default_factory=dict)


def limits(history: History) -> Iterator[Violation]:
    """All limits that were not kept, or that kept more away than they had to."""
    made = {
        op.wish.payload: op
        for op in reversed(history.ops)
        if op.call is Call.CREATE and op.wish is not None
    }
    for name, line in _lines(history, made).items():
        found = list(_too_many(line, history))
        if history.terms.calm:
            found += [*_unused(line, history), *_outranked(line)]
        for text in found:
            yield Violation(Promise.LIMITS, name, text)
    yield from _caps(history, made)
    if history.terms.calm:
        yield from _shares(history, made)


def _lines(history: History, made: dict[str, Op]) -> dict[str, _Line]:
    found: dict[str, _Line] = {}
    for rate in sorted(history.rates, key=lambda rate: rate.at_us):
        found.setdefault(rate.name, _Line([])).rates.append(rate)
    for op in made.values():
        for name in _wish(op).rates:
            found[name].made[_wish(op).payload] = op
    for start in sorted(history.starts, key=lambda start: start.at_us):
        counts = made.get(start.payload)
        for name in () if counts is None else _wish(counts).rates:
            found[name].starts.append(start)
    return found


def _wish(op: Op) -> Wish:
    if op.wish is None:
        raise AssertionError("a creation says what it is about")
    return op.wish


# Rates ------------------------------------------------------------------------------------------


def _too_many(line: _Line, history: History) -> Iterator[str]:
    """In no time more starts than the rate allows, and a burst (rule of leaky buckets).

    `level` is how full a bucket is from which the greatest rate that may be in force runs out; a
    start adds one, and if it overflows, some time before it there were too many.
    """
    burst = _burst(line, history)
    level, before_us = 0.0, 0
    for start in line.starts:
        gained = _allowed(line.rates, before_us, start.at_us)
        if gained is None:
            level, before_us = 0.0, start.at_us
            continue
        if history.terms.calm:
            level = max(0.0, level - gained)
        else:
            level -= gained
        level, before_us = level + 1, start.at_us
        late = _fastest(line.rates, start.at_us) * DECIDED_US if history.terms.calm else 0
        if level > burst + late + 1e-6:
            yield f"{level:.2f} starts at {start.at_us} beyond the rate, {burst} may"
            return


def _burst(line: _Line, history: History) -> float:
    """How many may begin at once. Each new owner of a part of a rate has its own beginning."""
    burst = max(rate.burst for rate in line.rates)
    if line.rates[0].of_key:
        return burst
    owners = {claim.owner for claim in history.claims}
    takings = len({(claim.shard, claim.epoch) for claim in history.claims})
    first = len({claim.shard for claim in history.claims})
    return burst + len(owners) + (takings - first) * (burst + 1)


def _allowed(rates: Sequence[Rate], from_us: int, to_us: int) -> float | None:
    """How many starts the rates that may be in force allow in a time; None = there was no limit."""
    edges = sorted({from_us, to_us, *(at for rate in rates for at in _edges(rate, from_us, to_us))})
    total = 0.0
    for begin_us, end_us in pairwise(edges):
        fastest = _fastest(rates, begin_us)
        if fastest == float("inf"):
            return None
        total += (end_us - begin_us) * fastest
    return total if _fastest(rates, to_us) != float("inf") else None


def _edges(rate: Rate, from_us: int, to_us: int) -> Iterator[int]:
    return (at for at in (rate.at_us, rate.at_us + READ_US) if from_us < at < to_us)


def _fastest(rates: Sequence[Rate], at_us: int) -> float:
    """Starts in a microsecond, by the fastest rate that may be in force.

    Where the store cannot be read a rate holds for longer: such histories only ever raise theirs.
    """
    return max(_speed(rate) for rate in _in_force(rates, at_us))


def _in_force(rates: Sequence[Rate], at_us: int) -> list[Rate]:
    sure = [rate for rate in rates if rate.at_us + READ_US <= at_us]
    doubtful = [rate for rate in rates if rate.at_us <= at_us < rate.at_us + READ_US]
    return [*sure[-1:], *doubtful] or list(rates[:1])


def _speed(rate: Rate) -> float:
    return rate.starts / rate.per_us if rate.starts else float("inf")


def _unused(line: _Line, history: History) -> Iterator[str]:
    """Where nothing is broken and tasks wait, they begin as fast as the rate lets them.

    Of a rate that is split among owners each one has its part, by its shards, and its tasks.
    """
    known_us = [op.ret_us for op in line.made.values() if op.kind is Kind.OK]
    if not line.starts or not known_us:
        return
    most = max((_wish(op).most for op in line.made.values()), default=0)
    epochs = Counter(shard for shard, _ in {(each.shard, each.epoch) for each in history.claims})
    if most or max(epochs.values(), default=1) > 1:
        return  # something else holds them up as well
    for part, starts in _parts(line, history):
        at_us, left = max(known_us), float(len(starts))
        while left > 0 and at_us < starts[-1].at_us:
            slowest = min(_speed(rate) for rate in _in_force(line.rates, at_us))
            at_us += 100_000
            left -= 100_000 * slowest * part / USED
        if left <= 0 and starts[-1].at_us > at_us + SLACK_US:
            yield f"the last of {len(starts)} began at {starts[-1].at_us}, by {at_us} it could"


def _parts(line: _Line, history: History) -> Iterator[tuple[float, list[Start]]]:
    """The starts of each owner, and which part of the rate is its."""
    if line.rates[0].of_key:
        yield 1.0, line.starts
        return
    owner_of = {claim.shard: claim.owner for claim in history.claims}
    sender = {sent.task: sent.owner for sent in history.sent}
    by_owner: dict[str, list[Start]] = defaultdict(list)
    for start in line.starts:
        by_owner[sender.get(start.task, "")].append(start)
    shards = Counter(owner_of.values())
    for owner, starts in by_owner.items():
        if shards[owner]:
            yield shards[owner] / len(owner_of), starts


def _outranked(line: _Line) -> Iterator[str]:
    """In the line of a key those of a higher rank go first, and of one rank who came first."""
    if not line.rates[0].of_key:
        return
    for number, start in enumerate(line.starts):
        rank = _wish(line.made[start.payload]).rank
        for later in line.starts[number + 1 :]:
            op = line.made[later.payload]
            if op.ret_us < start.at_us - RANKED_US and _wish(op).rank > rank:
                yield f"{start.task} of rank {rank} began before {later.task}, of {op.wish}"
                return


# Caps and shares --------------------------------------------------------------------------------


def _caps(history: History, made: dict[str, Op]) -> Iterator[Violation]:
    """In one process never more of a handler at work at once than its cap."""
    cap_of = {payload: _wish(op) for payload, op in made.items() if _wish(op).cap}
    if not cap_of:
        return
    places = {wish.cap: wish.places for wish in cap_of.values()}

    def cap(start: Start) -> tuple[str, str] | None:
        wish = cap_of.get(start.payload)
        return None if wish is None else (wish.cap, start.process)

    found = spans_of(history, cap)
    for (name, process), spans in found.items():
        for at_us, working in crowds(spans, places[name]):
            text = f"{len(working)} at work at {at_us}, {places[name]} may"
            yield Violation(Promise.LIMITS, f"{name} on {process}", text)
    if history.terms.calm:
        for name, most in places.items():
            yield from _idle(name, most, [found[key] for key in found if key[0] == name])


def _idle(name: str, places: int, spans: list[Spans]) -> Iterator[Violation]:
    """Where nothing is broken: as long as some wait, the places of all are taken."""
    for each in spans:
        busy_us = sum(end_us - at_us for at_us, end_us, _ in each)
        last_us = max(end_us for _, end_us, _ in each)
        first_us = min(at_us for at_us, _, _ in each)
        wanted_us = busy_us / places * USED + SLACK_US
        if last_us - first_us > wanted_us:
            text = f"{len(each)} took {last_us - first_us} us, {wanted_us:.0f} would be enough"
            yield Violation(Promise.LIMITS, name, text)


def _shares(history: History, made: dict[str, Op]) -> Iterator[Violation]:
    """Of a crowd each tenant starts by its weight, for as long as all of them have some left.

    Each owner shares its own starts.
    """
    sender = {sent.task: sent.owner for sent in history.sent}
    crowds_of: dict[tuple[str, str], list[Wish]] = defaultdict(list)
    last = {start.task: start.attempt for start in history.starts}
    for start in sorted(history.starts, key=lambda start: start.at_us):
        op = made.get(start.payload)
        if op is not None and _wish(op).crowd and start.attempt == last[start.task]:
            crowds_of[_wish(op).crowd, sender.get(start.task, "")].append(_wish(op))
    for (name, owner), wishes in crowds_of.items():
        places: dict[str, list[int]] = defaultdict(list)
        for number, wish in enumerate(wishes):
            places[wish.tenant].append(number)
        weights = {wish.tenant: wish.weight for wish in wishes}
        together = wishes[: min(each[-LAST_OF_CROWD:][0] for each in places.values())]
        if len(weights) < 2 or len(together) < FEWEST_OF_CROWD:
            continue
        counted = Counter(wish.tenant for wish in together)
        for tenant, weight in weights.items():
            share = weight / sum(weights.values())
            had = counted[tenant] / len(together)
            if abs(had - share) > SHARE_OFF:
                text = f"{tenant} had {had:.2f} of {len(together)} starts, its share is {share:.2f}"
                yield Violation(Promise.LIMITS, f"{name} of {owner}", text)
