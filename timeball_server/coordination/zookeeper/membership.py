"""Members: ephemeral entries whose czxid is the incarnation."""

from __future__ import annotations

from dataclasses import replace

from kazoo.exceptions import NodeExistsError
from timeball.errors import AlreadyExists, FailedPrecondition

from timeball_server.coordination.zookeeper import layout as words
from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.calls import TRIES, Calls
from timeball_server.coordination.zookeeper.mirror import Entry
from timeball_server.core.ids import Incarnation
from timeball_server.ports.coordination import NOT_JOINED, Member, Role


async def join(calls: Calls, member: Member) -> Incarnation:
    """Become a member, or find what this session became when an answer was lost."""
    calls.link.require("join")
    joined = calls.joined
    if joined is not None and (joined.role, joined.node) != (member.role, member.node):
        raise FailedPrecondition(
            f"this session joined as {joined.role} {joined.node!r} already; "
            "open one session per member"
        )
    incarnation = await _make(calls, member)
    calls.joined = joined or replace(member, incarnation=incarnation)
    return incarnation


async def members(calls: Calls, role: Role) -> tuple[Member, ...]:
    """The living members of a role, ordered by node."""
    entries = await calls.mirror.members[role].read("members")
    found = (_member_of(entry) for entry in entries)
    known = [member for member in found if member is not None]
    return tuple(sorted(known, key=lambda member: member.node))


async def drain(calls: Calls) -> None:
    """Mark this session's member as draining.

    Writes the parent too, so that rechecks can see a change of contents.
    """
    joined = calls.require_joined("drain")
    path = calls.layout.member(joined.role, joined.node)
    drained = replace(joined, draining=True)
    await calls.together(
        "drain",
        requests.replace(path, _contents(drained), requests.ANY_VERSION),
        requests.replace(calls.layout.members(joined.role), b"", requests.ANY_VERSION),
    )
    calls.joined = drained


async def _make(calls: Calls, member: Member) -> Incarnation:
    """Make the entry, or find our own."""
    path = calls.layout.member(member.role, member.node)
    for _ in range(TRIES):
        try:
            return Incarnation(await calls.create("join", path, _contents(member)))
        except NodeExistsError:
            found = await calls.look("join", path)
        if found is not None and calls.is_mine(found):
            return Incarnation(found.czxid)
        if found is not None:
            break
    raise AlreadyExists(
        f"{member.role} {member.node!r} is still a member through another session; "
        "wait until that session has ended or choose another name"
    )


def _contents(member: Member) -> bytes:
    """What is written; the incarnation is the entry's czxid and never written."""
    return words.write_member(replace(member, incarnation=NOT_JOINED))


def _member_of(entry: Entry) -> Member | None:
    """A member with its incarnation, None if the entry cannot be read."""
    member = words.read_member(entry.data)
    return None if member is None else replace(member, incarnation=Incarnation(entry.czxid))
