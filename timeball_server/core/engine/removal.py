"""What a shard remembers of a round of removals; `removing` decides (rules R19, R20)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from timeball_server.core.ids import Minute


class RemovalStage(StrEnum):
    """How far a round is. From MOVING on it is certain, unless the shard is lost."""

    READING = "READING"
    MOVING = "MOVING"
    REMOVING = "REMOVING"


@dataclass(slots=True, kw_only=True)
class Removal:
    """A round of removals: homes below `below` are barred until the watermark has moved."""

    below: Minute
    stage: RemovalStage
    reading: Minute | None = None
