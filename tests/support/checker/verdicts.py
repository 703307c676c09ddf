"""Broken promises by name. The numbers are those of docs/simulation.md."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Promise(StrEnum):
    """What may be broken."""

    DURABLE = "I1 durable"
    NOT_EARLY = "I2 not early"
    CANCEL = "I3 cancel"
    AT_MOST_ONCE = "I4 at most once"
    AT_LEAST_ONCE = "I5 at least once"
    SCHEDULE = "I6 schedule"
    NO_OVERLAP = "I7 no overlap"
    LINEAR = "I8 linearizable"
    ONE_OWNER = "I9 one owner"
    PAYLOAD = "I10 payload"
    LIVE = "I11 live"
    PUNCTUAL = "I11 punctual"
    TRUTH = "I12 status truth"
    ISOLATION = "I13 isolation"
    HYGIENE = "I14 hygiene"
    REVISION = "I15 revision"
    KEYS = "I16 keys"
    LIMITS = "I17 limits"
    TIMEOUTS = "I18 timeouts"
    RETRIES = "I19 retries"
    THRIFT = "I20 thrift"
    FORECAST = "I21 forecast"
    EXPLAINED = "I22 explained"
    HELD_BACK = "I23 held back"
    LISTS = "I24 lists"
    PROGRESS = "I25 progress"
    TEAMS = "I26 teams"
    DEALINGS = "I27 dealings"
    SANITY = "sanity"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: its name, the task or shard, and what was seen."""

    promise: Promise
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.subject}: {self.text}"
