"""What callers ask for and who they are, and what calls need from the coordinator around them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

from coordinator.owner_calls import OwnerCalls
from timeball_server.core.buckets import Layout
from timeball_server.core.ids import TaskId
from timeball_server.core.minting import CreateTime, fresh_request_id
from timeball_server.core.model import TaskSpec
from timeball_server.ports.clock import Clock
from timeball_server.ports.store import Store

DEFAULT_PATIENCE_MS: Final = 10_000
"""How long a call is tried when its caller set no deadline."""


class WhileOpen(StrEnum):
    """What becomes of a creation whose chosen name an open task has."""

    FAIL = "FAIL"
    USE_EXISTING = "USE_EXISTING"
    REPLACE_PENDING = "REPLACE_PENDING"


class AfterEnd(StrEnum):
    """Whether a chosen name may be given again after its task has ended."""

    ALLOW = "ALLOW"
    ALLOW_IF_FAILED = "ALLOW_IF_FAILED"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenName:
    """A name for a task that its caller chose, and what to do when it is taken."""

    name: str
    while_open: WhileOpen = WhileOpen.FAIL
    after_end: AfterEnd = AfterEnd.ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """One task to create. `request_id`: 16 bytes of a UUID, None = the caller brought none."""

    spec: TaskSpec
    time: CreateTime
    request_id: bytes | None = None
    resend: bool = False
    chosen: ChosenName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """A cancel. `terminate` also fences a running attempt at once."""

    task_id: TaskId
    request_id: bytes | None = None
    reason: str = ""
    terminate: bool = False
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """An update of a task: the fields of `spec` that `fields` names. `revision` None = any."""

    task_id: TaskId
    spec: TaskSpec
    fields: tuple[str, ...]
    revision: int | None = None
    request_id: bytes | None = None
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RescheduleRequest:
    """Another time for a task. `due_ms` None = the owner's now, later by `delay_ms`."""

    task_id: TaskId
    due_ms: int | None = None
    delay_ms: int = 0
    revision: int | None = None
    request_id: bytes | None = None
    resend: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRequest:
    """The removal of a task that has ended. `revision` None = whatever there is."""

    task_id: TaskId
    revision: int | None = None
    request_id: bytes | None = None
    resend: bool = False


class Caller(NamedTuple):
    """Who calls: the namespace and subject of the credential."""

    namespace: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What calls need from the rest of the coordinator.

    `entropy` makes request ids for callers without one; `token_key` seals page tokens.
    """

    store: Store
    calls: OwnerCalls
    clock: Clock
    layout: Layout
    entropy: Random
    token_key: bytes

    def fresh_request_id(self) -> bytes:
        """A request id for a caller who brought none and therefore cannot repeat."""
        return fresh_request_id(self.clock.now().wall_ms, self.entropy.randbytes(10))


def request_id_text(request_id: bytes) -> str:
    """The 16 bytes of a request id as a UUID is written."""
    digits = request_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
