"""Leader and assignment: ephemeral sequential candidacies, the oldest of which leads.

A candidacy's name carries its session, so one whose answer was lost is found again. Everybody has
to know who leads, so everybody watches the candidacies; there are a handful.
"""

from __future__ import annotations

from collections.abc import Mapping

from kazoo.exceptions import BadVersionError, NoNodeError
from timeball.errors import Internal

from timeball_server.coordination.zookeeper import layout as words
from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.calls import Calls
from timeball_server.coordination.zookeeper.mirror import Entry
from timeball_server.core.ids import NodeId, ShardId
from timeball_server.ports.coordination import Assignment


async def campaign(calls: Calls) -> None:
    """Stand for leader unless this session does already."""
    joined = calls.require_joined("campaign")
    if not any(calls.is_mine(each) for each in await _candidacies(calls, "campaign")):
        path = calls.layout.candidacy(calls.link.session_id)
        await calls.create("campaign", path, words.write_node(joined.node), requests.SEQUENTIAL)


async def leader(calls: Calls) -> NodeId | None:
    """Who leads now."""
    candidacies = await _candidacies(calls, "leader")
    return words.read_node(candidacies[0].data) if candidacies else None


async def term(calls: Calls) -> int | None:
    """The czxid of the candidacy in which this session leads, None if it does not."""
    leading = await _leading(calls, "term")
    return None if leading is None else leading.czxid


async def read_assignment(calls: Calls) -> Assignment | None:
    """The newest assignment."""
    path = calls.layout.assignment
    data, version = await calls.mirror.read_document("read_assignment", path)
    try:
        return words.read_assignment(data, version)
    except ValueError as error:
        raise Internal(
            f"The assignment in {path} cannot be read ({error}). Run the version that wrote it."
        ) from error


async def write_assignment(
    calls: Calls,
    in_term: int,
    expected_version: int,
    shards: Mapping[ShardId, NodeId],
    reasons: Mapping[ShardId, str],
) -> bool:
    """Replace the assignment if this session still leads in this term and nobody wrote.

    Who has the oldest candidacy has it for as long as it exists: that it exists is all that
    the transaction has to check.
    """
    name = "write_assignment"
    leading = await _leading(calls, name)
    if leading is None or leading.czxid != in_term or expected_version < 0:
        return False
    data = words.write_assignment(in_term, shards, reasons)
    written = await calls.together(
        name,
        requests.check(f"{calls.layout.election}/{leading.name}", leading.version),
        requests.replace(calls.layout.assignment, data, expected_version),
        expected=(NoNodeError, BadVersionError),
    )
    return written is not None


async def _candidacies(calls: Calls, name: str) -> list[Entry]:
    """Living candidacies, the oldest first."""
    entries = await calls.mirror.election.read(name)
    known = (entry for entry in entries if words.candidacy_order(entry.name) >= 0)
    return sorted(known, key=lambda entry: words.candidacy_order(entry.name))


async def _leading(calls: Calls, name: str) -> Entry | None:
    """The candidacy in which this session leads."""
    oldest = next(iter(await _candidacies(calls, name)), None)
    return oldest if oldest is not None and calls.is_mine(oldest) else None
