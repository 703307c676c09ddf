"""Members as messages, and what a message must look like to be a member."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from timeball.errors import InvalidRequest, Violation

from timeball_server.core.ids import NodeId
from timeball_server.internal.v1 import membership_service_pb2 as pb
from timeball_server.ports.coordination import Member, Role

MIN_SESSION_TIMEOUT_MS: Final = 500
MAX_SESSION_TIMEOUT_MS: Final = 120_000
MAX_STRENGTH: Final = 100
_NODE: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


def write_member(member: Member, session_timeout_ms: int) -> pb.JoiningMember:
    """The message that joins as this member."""
    return pb.JoiningMember(
        role=member.role.value,
        node=member.node,
        address=member.address,
        strength=member.strength,
        slots=member.slots,
        labels=dict(member.labels),
        handlers=member.handlers,
        started_ms=member.started_ms,
        version=member.version,
        session_timeout_ms=session_timeout_ms,
        caps=dict(member.caps),
    )


def read_member(message: pb.JoiningMember) -> Member:
    """The member that a message describes; labels and caps come sorted.

    Raises:
        InvalidRequest: with every field that is wrong.
    """
    violations = tuple(_violations(message))
    if violations:
        raise InvalidRequest("this cannot join; see the violations", violations=violations)
    return Member(
        role=Role(message.role),
        node=NodeId(message.node),
        address=message.address,
        strength=message.strength,
        slots=message.slots,
        labels=tuple(sorted(message.labels.items())),
        handlers=tuple(message.handlers),
        started_ms=message.started_ms,
        version=message.version,
        caps=tuple(sorted(message.caps.items())),
    )


def _violations(message: pb.JoiningMember) -> Iterator[Violation]:
    """Everything that is wrong with a joining member."""
    if message.role not in {role.value for role in Role}:
        yield Violation("member.role", f"must be one of {', '.join(Role)}")
    if not _NODE.fullmatch(message.node):
        yield Violation(
            "member.node", "must be 1 to 100 letters, digits, dots, hyphens or underscores"
        )
    if not 1 <= message.strength <= MAX_STRENGTH:
        yield Violation("member.strength", f"must be 1 to {MAX_STRENGTH}")
    if message.slots < 0:
        yield Violation("member.slots", "must not be negative")
    for handler, cap in sorted(message.caps.items()):
        if cap < 1:
            yield Violation(f"member.caps[{handler}]", "must be at least 1")
    if not MIN_SESSION_TIMEOUT_MS <= message.session_timeout_ms <= MAX_SESSION_TIMEOUT_MS:
        yield Violation(
            "member.session_timeout_ms",
            f"must be {MIN_SESSION_TIMEOUT_MS} to {MAX_SESSION_TIMEOUT_MS}",
        )
