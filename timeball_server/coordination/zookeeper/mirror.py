"""What this session has read of the shared entries, kept true by one-shot watches.

A read costs one round trip when nothing changed: the list of names comes fresh from the server,
contents that no watch has named since come from memory. ZooKeeper sends a watch's event before
any answer that shows the change, and the client hands both over in that order, so memory is never
older than the answer.

A watch that fired is armed again by reading, and only then is the change told: what comes after
fires again. Should a watch ever get lost, `recheck` finds it by the stats of the parents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kazoo.exceptions import NoNodeError
from timeball.errors import CoordinationUnavailable, TimeballError

from timeball_server.coordination.zookeeper import requests
from timeball_server.coordination.zookeeper.layout import Layout
from timeball_server.coordination.zookeeper.link import Link
from timeball_server.ports.coordination import Role

Stamp = tuple[int, int]
"""(newest change of a child, version of the contents): differs when anything below changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One child as it was read: its contents, when it was made (czxid), and by which session."""

    name: str
    data: bytes
    czxid: int
    session_id: int
    version: int


class Folder:
    """The children of one entry.

    Changes of a child's contents must also write the parent, or a lost watch stays unnoticed.
    """

    def __init__(self, path: str, link: Link, watch: requests.Watch) -> None:
        self.path = path
        self._link = link
        self._watch = watch
        self._known: dict[str, Entry] = {}
        self._changed: set[str] = set()
        self._round = 0
        self._stamp: Stamp | None = None
        self._reading = asyncio.Lock()

    async def read(self, name: str) -> tuple[Entry, ...]:
        """All children by name, as of after the call; arms the watches.

        Args:
            name: what is being done, for errors.
        """
        async with self._reading:
            started = self._round
            self._changed.clear()
            names, stat = await self._ask(name, requests.children(self.path, self._watch))
            kept = {each: self._known[each] for each in names if each in self._known}
            missing = [each for each in names if each not in kept]
            found = await asyncio.gather(*(self._read_child(name, each) for each in missing))
            read = {each.name: each for each in found if each is not None}
            if started == self._round:
                self._stamp = _stamp(stat)
                self._known = _without(kept | read, self._changed)
            present = kept | read
            return tuple(present[each] for each in sorted(present))

    def hear(self, path: str | None) -> None:
        """A watch fired: for this folder, for one child of it, or (None) all are lost."""
        if path is None:
            self._round += 1
            self._known = {}
        else:
            child = path.rpartition("/")[2]
            self._changed.add(child)
            self._known.pop(child, None)

    async def differs(self, name: str) -> bool:
        """Whether the server knows of changes that were not read; the memory is then dropped."""
        stat = await self._ask(name, requests.look(self.path))
        if stat is None or _stamp(stat) == self._stamp:
            return False
        self.hear(None)
        return True

    async def _read_child(self, name: str, child: str) -> Entry | None:
        """One child, None if it has gone."""
        try:
            path = f"{self.path}/{child}"
            data, stat = await self._link.ask(name, requests.read(path, self._watch))
        except NoNodeError:
            return None
        return Entry(
            name=child,
            data=data,
            czxid=stat.czxid,
            session_id=stat.ephemeralOwner,
            version=stat.version,
        )

    async def _ask(self, name: str, request: Any) -> Any:
        """Ask about the folder itself, which must exist."""
        return await ask_existing(self._link, name, request, self.path)


class Mirror:
    """All folders and the documents (assignment, wishes), watched.

    Args:
        layout: where they are.
        link: to the server.
        on_change: called on the loop after something changed and its watches are armed again.
    """

    def __init__(self, layout: Layout, link: Link, on_change: Callable[[], None]) -> None:
        self._link = link
        self._on_change = on_change
        self.members = {role: self._folder(layout.members(role)) for role in Role}
        self.election = self._folder(layout.election)
        self.owners = self._folder(layout.owners)
        self.standbys = self._folder(layout.standbys)
        shared = (self.election, self.owners, self.standbys)
        self._folders = {each.path: each for each in (*self.members.values(), *shared)}
        self._documents: dict[str, Stamp | None] = {layout.assignment: None, layout.wishes: None}
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()

    async def read_document(self, name: str, path: str) -> tuple[bytes, int]:
        """Contents of a document and how often it has been written; arms the watch."""
        request = requests.read(path, self._hear_later)
        data, stat = await ask_existing(self._link, name, request, path)
        self._documents[path] = _stamp(stat)
        return data, stat.version

    async def arm(self) -> None:
        """Read everything once."""
        self._dirty.clear()
        await asyncio.gather(*(self._refresh(path) for path in self._all_paths()))

    def lose_all(self) -> None:
        """The connection broke and every watch with it: read everything as soon as possible."""
        for folder in self._folders.values():
            folder.hear(None)
        self._mark(*self._all_paths())

    async def keep_fresh(self) -> None:
        """Read again what changed and tell; for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, set()
            try:
                await asyncio.gather(*(self._refresh(path) for path in sorted(dirty)))
            except TimeballError:
                # The next connection, or the next recheck, reads it; reads of others fail alike.
                self._dirty |= dirty
                continue
            self._on_change()

    async def recheck(self) -> None:
        """Look for changes that no watch told."""
        for path in self._all_paths():
            if path not in self._dirty and await self._differs(path):
                self._mark(path)
        if self._dirty:
            self._wake.set()

    def _folder(self, path: str) -> Folder:
        return Folder(path, self._link, self._hear_later)

    def _all_paths(self) -> tuple[str, ...]:
        return (*self._folders, *self._documents)

    def _hear_later(self, event: Any) -> None:
        """A watch fired; on the client's thread."""
        path: str | None = event.path
        self._link.post(lambda: self._hear(path))

    def _hear(self, path: str | None) -> None:
        """A watch fired; on the loop, before any answer that shows the change."""
        if path is None:
            self.lose_all()
        elif path in self._folders or path in self._documents:
            self._mark(path)
        else:
            parent = path.rpartition("/")[0]
            self._folders[parent].hear(path)
            self._mark(parent)

    def _mark(self, *paths: str) -> None:
        """Have these read soon."""
        self._dirty.update(paths)
        self._wake.set()

    async def _refresh(self, path: str) -> None:
        """Read one of them, which arms its watches."""
        if path in self._documents:
            await self.read_document("watch", path)
        else:
            await self._folders[path].read("watch")

    async def _differs(self, path: str) -> bool:
        """Whether something changed that was not read."""
        if path in self._folders:
            return await self._folders[path].differs("recheck")
        stat = await ask_existing(self._link, "recheck", requests.look(path), path)
        return stat is not None and _stamp(stat) != self._documents[path]


async def ask_existing(link: Link, name: str, request: Any, path: str) -> Any:
    """Ask about one of the entries that opening a session makes sure of."""
    try:
        return await link.ask(name, request)
    except NoNodeError as error:
        raise CoordinationUnavailable(
            f"{name}: the entry {path} has been removed from ZooKeeper; "
            "opening a new session makes it again"
        ) from error


def _stamp(stat: Any) -> Stamp:
    """What tells two states of an entry and its children apart."""
    return stat.pzxid, stat.version


def _without(entries: dict[str, Entry], names: set[str]) -> dict[str, Entry]:
    """All but those."""
    return {name: entry for name, entry in entries.items() if name not in names}
