"""What the page is told of one look, as JSON. Names and figures; never a namespace or a payload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from timeball_server.console.history import History
from timeball_server.console.sight import ShardSight, Sight
from timeball_server.console.spells import Since
from timeball_server.console.verdict import LATE_WAIT_MS, Verdict
from timeball_server.core.ids import ShardId
from timeball_server.ports.coordination import Member, Role
from timeball_server.ports.owners import NodeFigures

MINUTE_S: Final = 60
MAX_ROWS: Final = 500
"""Rows of one table; of more, the worst or first ones are told and all are counted."""
MAX_NAMES: Final = 40
"""Handlers or labels of one executor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who answers: the coordinator's name, its version, what the store is, since when it looks."""

    coordinator: str
    version: str
    store: str
    since_ms: int


def document(
    about: About,
    sight: Sight,
    history: History,
    verdict: Verdict,
    ownerless: Mapping[ShardId, Since],
) -> bytes:
    """One picture."""
    return encoded(
        {
            "about": _about(about),
            "at_ms": sight.at_ms,
            "verdict": {"level": verdict.level.value, "reasons": verdict.reasons},
            "last_minute": _last_minute(history),
            "totals": _totals(sight),
            "assignment": sight.assignment_version,
            "shards": [_shard(each, ownerless.get(each.shard)) for each in _worst(sight)],
            "nodes": [_node(each, sight) for each in _shown(sight, Role.SCHEDULER_NODE)],
            "executors": [_executor(each, sight) for each in _shown(sight, Role.EXECUTOR)],
            "coordinators": [_coordinator(each, sight) for each in _shown(sight, Role.COORDINATOR)],
        }
    )


def blind(about: About, at_ms: int, sentence: str) -> bytes:
    """A picture of nothing: why there is none."""
    verdict = {"level": "unknown", "reasons": [sentence]}
    return encoded({"about": _about(about), "at_ms": at_ms, "verdict": verdict})


def encoded(value: object) -> bytes:
    """JSON in one line, as an event of a stream wants it."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _about(about: About) -> dict[str, Any]:
    return {
        "coordinator": about.coordinator,
        "version": about.version,
        "store": about.store,
        "since_ms": about.since_ms,
    }


def _of(sight: Sight, role: Role) -> list[Member]:
    return [each for each in sight.members if each.role is role]


def _shown(sight: Sight, role: Role) -> list[Member]:
    return _of(sight, role)[:MAX_ROWS]


def _worst(sight: Sight) -> list[ShardSight]:
    """The shards to show: those that need somebody first, then by number."""

    def rank(shard: ShardSight) -> tuple[int, int, int]:
        known = shard.figures
        if known is None:
            return 0, 0, shard.shard
        oldest_ms = sight.at_ms if known.oldest_due_ms is None else known.oldest_due_ms
        late_ms = sight.at_ms - oldest_ms
        return (1, -late_ms, shard.shard) if late_ms >= LATE_WAIT_MS else (2, 0, shard.shard)

    return sorted(sight.shards, key=rank)[:MAX_ROWS]


def _totals(sight: Sight) -> dict[str, int]:
    executors = _of(sight, Role.EXECUTOR)
    known = {each.incarnation for each in executors}
    reports = [each for figures in sight.nodes.values() for each in figures.executors]
    return {
        "shards": len(sight.shards),
        "nodes": len(_of(sight, Role.SCHEDULER_NODE)),
        "executors": len(executors),
        "coordinators": len(_of(sight, Role.COORDINATOR)),
        "due": sum(each.figures.due_now for each in sight.shards if each.figures is not None),
        "slots": sum(each.slots for each in executors),
        "used": sum(each.runs for each in reports if each.incarnation in known),
    }


def _last_minute(history: History) -> dict[str, int | None]:
    late = history.lateness(MINUTE_S)
    return {
        "seconds": max(1, min(MINUTE_S, history.until_s - history.since_s)),
        "starts": late.starts,
        "created": history.created(MINUTE_S),
        "failed": history.failed(MINUTE_S),
        "p50_ms": late.p50_ms,
        "p99_ms": late.p99_ms,
        "max_ms": late.max_ms,
    }


def _shard(shard: ShardSight, since: Since | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "shard": shard.shard,
        "owner": shard.owner,
        "epoch": shard.epoch,
        "assigned": shard.assigned,
        "reason": shard.reason,
    }
    if since is not None:
        shown["ownerless_since_ms"] = since.at_ms
        shown["ownerless_exactly"] = since.exactly
    known = shard.figures
    if known is not None:
        shown |= {
            "phase": known.phase,
            "acquired_ms": known.acquired_ms,
            "tasks": known.tasks,
            "waiting": known.waiting,
            "due": known.due_now,
            "oldest_due_ms": known.oldest_due_ms,
            "starts": known.starts,
            "p50_ms": known.late_p50_ms,
            "p99_ms": known.late_p99_ms,
        }
    return shown


def _member(member: Member) -> dict[str, Any]:
    return {
        "name": member.node,
        "address": member.address,
        "incarnation": member.incarnation,
        "version": member.version,
        "started_ms": member.started_ms,
        "draining": member.draining,
    }


def _coordinator(member: Member, sight: Sight) -> dict[str, Any]:
    return {**_member(member), "leader": member.node == sight.leader}


def _node(member: Member, sight: Sight) -> dict[str, Any]:
    owned = [each.shard for each in sight.shards if each.owner == member.node]
    shown = {**_member(member), "shards": owned}
    figures = sight.nodes.get(member.node)
    if figures is not None:
        shown |= {
            "lease_left_ms": figures.lease_left_ms,
            "tasks": sum(each.tasks for each in figures.shards),
            "due": sum(each.due_now for each in figures.shards),
            "starts": sum(each.starts for each in figures.shards),
        }
    return shown


def _executor(member: Member, sight: Sight) -> dict[str, Any]:
    seen = [(node, _runs(figures, member)) for node, figures in sorted(sight.nodes.items())]
    return {
        **_member(member),
        "strength": member.strength,
        "slots": member.slots,
        "used": sum(runs for _, (runs, _) in seen),
        "handlers": member.handlers[:MAX_NAMES],
        "more_handlers": max(0, len(member.handlers) - MAX_NAMES),
        "labels": [f"{name}={value}" for name, value in member.labels[:MAX_NAMES]],
        "streams": [[node, state] for node, (_, state) in seen],
    }


def _runs(figures: NodeFigures, member: Member) -> tuple[int, str]:
    """How many runs of a node an executor has, and how its stream to that node stands."""
    for each in figures.executors:
        if each.incarnation == member.incarnation:
            if each.left_out_ms > 0:
                return each.runs, f"left out: {each.left_out_reason}"
            if each.ready:
                return each.runs, "ready"
            return each.runs, "opening" if each.stream_open else "closed"
    return 0, "closed"
