"""What a judge is told of one run, from whoever watched: all records together, by kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tests.support.checker.bounds import Rate
from tests.support.checker.calendars import Forecast
from tests.support.checker.dealings import Dealt
from tests.support.checker.questions import Asked, ForeignRow, Nature, Serving
from tests.support.checker.records import (
    Away,
    Claim,
    Edition,
    End,
    Fault,
    Final,
    Followed,
    Left,
    Listed,
    Op,
    Problem,
    Residue,
    Sent,
    Spent,
    Start,
    Terms,
    Verdict,
)
from tests.support.checker.stored import Stored
from tests.support.checker.words import Found, Glance, Said

Line = (
    Op
    | Start
    | End
    | Left
    | Fault
    | Claim
    | Sent
    | Final
    | Verdict
    | Rate
    | Edition
    | Away
    | Listed
    | Followed
    | Residue
    | Spent
    | Problem
    | Terms
    | Forecast
    | Nature
    | Serving
    | Asked
    | ForeignRow
    | Said
    | Found
    | Glance
    | Dealt
    | Stored
)


class History:
    """All records of one run, by kind, each kind in the order of being told."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.ops: list[Op] = []
        self.starts: list[Start] = []
        self.ends: list[End] = []
        self.left: list[Left] = []
        self.faults: list[Fault] = []
        self.claims: list[Claim] = []
        self.sent: list[Sent] = []
        self.final: dict[str, Final] = {}
        self.verdicts: list[Verdict] = []
        self.rates: list[Rate] = []
        self.editions: list[Edition] = []
        self.away: list[Away] = []
        self.listed: list[Listed] = []
        self.followed: list[Followed] = []
        self.residues: list[Residue] = []
        self.spent: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.forecasts: list[Forecast] = []
        self.natures: dict[str, Nature] = {}
        self.serving: list[Serving] = []
        self.asked: list[Asked] = []
        self.foreign_rows: list[ForeignRow] = []
        self.said: list[Said] = []
        self.found: list[Found] = []
        self.glances: list[Glance] = []
        self.dealt: list[Dealt] = []
        self.stored: list[Stored] = []
        self.terms = Terms(calm=False)
        self.count = 0
        keep = {
            Op: self.ops.append,
            Start: self.starts.append,
            End: self.ends.append,
            Left: self.left.append,
            Fault: self.faults.append,
            Claim: self.claims.append,
            Sent: self.sent.append,
            Final: self._keep_final,
            Verdict: self.verdicts.append,
            Rate: self.rates.append,
            Edition: self.editions.append,
            Away: self.away.append,
            Listed: self.listed.append,
            Followed: self.followed.append,
            Residue: self.residues.append,
            Spent: self._keep_spent,
            Problem: self.problems.append,
            Terms: self._keep_terms,
            Forecast: self.forecasts.append,
            Nature: self._keep_nature,
            Serving: self.serving.append,
            Asked: self.asked.append,
            ForeignRow: self.foreign_rows.append,
            Said: self.said.append,
            Found: self.found.append,
            Glance: self.glances.append,
            Dealt: self.dealt.append,
            Stored: self.stored.append,
        }
        for line in lines:
            keep[type(line)](line)  # type: ignore[operator]
            self.count += 1

    def _keep_final(self, final: Final) -> None:
        self.final[final.task] = final

    def _keep_spent(self, spent: Spent) -> None:
        self.spent[spent.what] = spent.times

    def _keep_nature(self, nature: Nature) -> None:
        self.natures[nature.task] = nature

    def _keep_terms(self, terms: Terms) -> None:
        self.terms = terms


def read_lines(text: Iterable[bytes]) -> Iterator[Line]:
    """Records from JSON lines.

    Raises:
        msgspec.ValidationError: a line is no record.
    """
    decoder = msgspec.json.Decoder(Line)
    return (decoder.decode(line) for line in text)


def written(lines: Iterable[Line]) -> Iterator[bytes]:
    """Records as JSON lines."""
    encoder = msgspec.json.Encoder()
    return (encoder.encode(line) + b"\n" for line in lines)
