"""Reading a bucket's hints page by page: a load, a sweep and reading ahead all go this way.

Never keeps a page: whoever takes it may. Hints of what only a newer version knows are told apart
here, because nothing can be read behind them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from timeball_server.core.ids import is_known
from timeball_server.core.journal import DueRow
from timeball_server.ports.store import DuePage

ReadPage = Callable[[DueRow | None], Awaitable[DuePage]]
"""Reads the page behind this hint, None for the first one."""
TakePage = Callable[[Sequence[DueRow], bool], Awaitable[None]]
"""Takes a page's hints, and whether they are the last ones; the next page is read after it."""


async def each_page(read: ReadPage, take: TakePage) -> None:
    """Read until nothing is left; the last page may be empty."""
    after: DueRow | None = None
    last = False
    while not last:
        page = await read(after)
        last = not (page.more and page.rows)
        await take(page.rows, last)
        after = page.rows[-1] if page.rows else None


def known_kinds(page: Sequence[DueRow]) -> tuple[Sequence[DueRow], Sequence[DueRow]]:
    """The hints of a page whose ids this version can read, and the others."""
    foreign = [hint for hint in page if not is_known(hint.task_id)]
    if not foreign:
        return page, ()
    return [hint for hint in page if is_known(hint.task_id)], foreign
