"""The moment at which a shard that is handed over falls quiet.

Between that moment and the next owner's first claim nobody starts anything, so it is put where
nothing of the shard is due, if such a moment comes soon. Until then the shard is served like any
other. Must never wait for long: the next owner stands by.
"""

from __future__ import annotations

from typing import Final

from timeball_server.core.engine.state import Engine, Phase, ShardState

LULL_MS: Final = 150
"""So long nothing should be due: what a hand-over takes."""
PATIENCE_MS: Final = 500
"""A busy shard has no such moment; it is not waited for longer."""


def ask(engine: Engine, shard: ShardState) -> None:
    """Hand this shard over as soon as it is a good moment."""
    if shard.leave_at_mono_ms is None:
        shard.leave_at_mono_ms = engine.mono_ms + PATIENCE_MS


def advance(engine: Engine) -> None:
    """Let shards fall quiet whose moment has come; from now on they begin nothing."""
    for shard in engine.shards.values():
        at_mono_ms = shard.leave_at_mono_ms
        if at_mono_ms is None or shard.phase is Phase.RELEASING:
            continue
        if engine.mono_ms >= at_mono_ms or not _is_due_soon(engine, shard):
            shard.phase = Phase.RELEASING
            shard.leave_at_mono_ms = engine.mono_ms


def _is_due_soon(engine: Engine, shard: ShardState) -> bool:
    """Whether something is due within the lull; what is due already has waited for a slot."""
    until_ms = engine.now_ms + LULL_MS
    open_tasks = (task for task in shard.tasks.values() if task.chain and not task.sent)
    return any(engine.now_ms < task.due_ms < until_ms for task in open_tasks)


def next_look_ms(engine: Engine) -> int | None:
    """The wall-clock instant at which patience with a busy shard ends."""
    left_ms = [
        shard.leave_at_mono_ms - engine.mono_ms
        for shard in engine.shards.values()
        if shard.leave_at_mono_ms is not None and shard.phase is not Phase.RELEASING
    ]
    return engine.now_ms + max(0, min(left_ms)) if left_ms else None
