"""ZooKeeper requests by name, and the one that kazoo lacks: creating in a transaction with stat.

Knows the protocol's answers, never a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kazoo.exceptions import EXCEPTIONS, RolledBackError, RuntimeInconsistency
from kazoo.protocol.serialization import (
    CheckVersion,
    Create2,
    Delete,
    Exists,
    GetChildren2,
    GetData,
    MultiHeader,
    SetData,
    Sync,
    Transaction,
    int_struct,
    read_string,
    stat_struct,
)
from kazoo.protocol.states import ZnodeStat

Watch = Callable[[Any], None]
EPHEMERAL: Final = 1
SEQUENTIAL: Final = 2
PERSISTENT: Final = 0
ANY_VERSION: Final = -1


class Multi(Transaction):  # type: ignore[misc]
    """Several changes in one step. Kazoo's own cannot read the stat of what it created."""

    @classmethod
    def deserialize(cls, data: bytes, offset: int) -> list[Any]:
        """One result per change: a stat, (path, stat), True, or the error."""
        results = []
        header, offset = MultiHeader.deserialize(data, offset)
        while not header.done:
            result, offset = _read_result(header.type, data, offset)
            results.append(result)
            header, offset = MultiHeader.deserialize(data, offset)
        return results


def _read_result(kind: int, data: bytes, offset: int) -> tuple[Any, int]:
    """The result of one change, and where the next one begins."""
    if kind == Create2.type:
        path, offset = read_string(data, offset)
        stat, offset = _read_stat(data, offset)
        return (path, stat), offset
    if kind == SetData.type:
        return _read_stat(data, offset)
    if kind == -1:
        (code,) = int_struct.unpack_from(data, offset)
        return EXCEPTIONS[code](), offset + int_struct.size
    return True, offset


def _read_stat(data: bytes, offset: int) -> tuple[Any, int]:
    """An entry's facts."""
    return ZnodeStat._make(stat_struct.unpack_from(data, offset)), offset + stat_struct.size


def failure_of(results: Sequence[Any]) -> Exception | None:
    """The error that undid a transaction, None if it was applied."""
    errors = [each for each in results if isinstance(each, Exception)]
    causes = [
        each for each in errors if not isinstance(each, RolledBackError | RuntimeInconsistency)
    ]
    return next(iter(causes or errors), None)


def create(path: str, data: bytes, acl: Sequence[Any], flags: int) -> Any:
    """Make an entry; answers (path, stat)."""
    return Create2(path, data, acl, flags)


def delete(path: str, version: int) -> Any:
    """Remove an entry of this version."""
    return Delete(path, version)


def replace(path: str, data: bytes, version: int) -> Any:
    """Change an entry's data; answers its stat."""
    return SetData(path, data, version)


def check(path: str, version: int) -> Any:
    """Part of a transaction: only if the entry is of this version."""
    return CheckVersion(path, version)


def together(*changes: Any) -> Any:
    """All or none; answers a list of results."""
    return Multi(changes)


def look(path: str) -> Any:
    """Answers the stat, None if there is no such entry."""
    return Exists(path, None)


def read(path: str, watch: Watch | None) -> Any:
    """Answers (data, stat); with a watch, calls back once after the next change."""
    return GetData(path, watch)


def children(path: str, watch: Watch) -> Any:
    """Answers (names, stat) and calls back once after a name came or went."""
    return GetChildren2(path, watch)


def sync(path: str) -> Any:
    """A round trip to the ensemble's leader."""
    return Sync(path)


def is_through_leader(request: Any) -> bool:
    """Whether the ensemble's leader had to see the request; reads are answered by any server."""
    return isinstance(request, Create2 | Delete | SetData | Sync | Transaction)
