"""Whether a ledger accounts for every nominal time that the rules name, by the oracle's count.

Pure. The nominal times are the oracle's, which shares no module with the evaluator; what is judged
is what the API answered. Never asks anybody, and never repairs anything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timeball_server.oracle.rules import nominal_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One specification: its rules as the oracle reads them, None for a delay after completion.

    Its nominal times lie after `after_ms` and not after `until_ms`; None = it is in force.
    """

    number: int
    rules: Mapping[str, Any] | None
    after_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the ledger; `last_ms` is `first_ms` for one nominal time alone."""

    first_ms: int
    last_ms: int
    times: int
    verdict: str
    version: int


@dataclass(frozen=True, slots=True)
class Unexplained:
    """One thing that rules and ledger do not agree on."""

    at_ms: int
    version: int
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found: how many nominal times must have a verdict, and what is unexplained."""

    nominal_times: int
    unexplained: tuple[Unexplained, ...]


def judge(versions: Sequence[Version], rows: Sequence[Row], decided_until_ms: int) -> Audit:
    """Set a ledger against the rules.

    Args:
        versions: all of them, in their order.
        rows: the whole ledger.
        decided_until_ms: every nominal time before it must have its verdict.
    """
    count, found = 0, list[Unexplained]()
    for version in versions:
        if version.rules is None:
            continue
        mine = [row for row in rows if row.version == version.number]
        must, unexplained = _of_version(version, mine, decided_until_ms)
        count += must
        found += unexplained
    known = {version.number for version in versions}
    found += [
        Unexplained(row.first_ms, row.version, "a verdict of a version that there never was")
        for row in rows
        if row.version not in known
    ]
    return Audit(count, tuple(sorted(found, key=lambda each: each.at_ms)))


def _of_version(
    version: Version, rows: Sequence[Row], decided_until_ms: int
) -> tuple[int, list[Unexplained]]:
    """How many nominal times of a version must have a verdict, and what is wrong with its rows."""
    must_ms = decided_until_ms - 1
    last_ms = max([must_ms, *(row.last_ms for row in rows)])
    if version.until_ms is not None:
        must_ms, last_ms = min(must_ms, version.until_ms), min(last_ms, version.until_ms)
    named = nominal_times(version.rules or {}, version.after_ms + 1, last_ms)
    covered: Counter[int] = Counter()
    found = []
    for row in rows:
        times = named[bisect_left(named, row.first_ms) : bisect_right(named, row.last_ms)]
        covered.update(times)
        found += [Unexplained(row.first_ms, row.version, why) for why in _wrong(row, times)]
    must = bisect_right(named, must_ms)
    for at_ms in named[:must]:
        if covered[at_ms] != 1:
            why = f"{covered[at_ms]} verdicts" if covered[at_ms] else "no verdict"
            found.append(Unexplained(at_ms, version.number, why))
    return must, found


def _wrong(row: Row, times: Sequence[int]) -> Iterator[str]:
    if row.first_ms not in times:
        yield f"{row.verdict}, but no rule names this time"
    elif row.last_ms not in times:
        yield f"{row.verdict} up to a time that no rule names"
    elif len(times) != row.times:
        yield f"{row.verdict} for {row.times} times, but the rules name {len(times)}"
