"""Page tokens: where a listing goes on, opaque to callers and bound to their query.

A token is sealed with a keyed hash over its content and the query. One that was changed, or
comes with another query, is refused. Nothing of it is kept here, so it outlives this process.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from timeball.errors import InvalidRequest, refused

from timeball_server.core.ids import TaskId
from timeball_server.core.model import PublicState

_SEAL_BYTES: Final = 12
_REFUSAL: Final = "must come unchanged from the previous page of the same query, or be empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What is asked for; the same for all pages. `_from_ms` is inclusive, `_to_ms` is not.

    `label` is (key, value); None = any.
    """

    namespace: str
    owner: str
    states: frozenset[PublicState] = frozenset()
    handler: str = ""
    label: tuple[str, str] | None = None
    created_from_ms: int | None = None
    created_to_ms: int | None = None
    due_from_ms: int | None = None
    due_to_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the next page begins.

    `from_ms` and `to_ms` are pinned by the first page. `cursors` are the store's for batches of
    the day, one for each stream of the listing; of those batches, what lies up to
    (after_ms, after_id) has been given out.
    """

    from_ms: int
    to_ms: int
    day: int
    cursors: tuple[str, ...]
    after_ms: int | None = None
    after_id: TaskId | None = None


def seal(place: Place, query: ListQuery, key: bytes) -> str:
    """The token for a place."""
    return seal_words(list(astuple(place)), _words(query), key)


def unseal(token: str, query: ListQuery, key: bytes) -> Place:
    """The place in a token.

    Raises:
        InvalidRequest: it was not sealed by us for this query; names the field page_token.
    """
    from_ms, to_ms, day, cursors, after_ms, after_id = unseal_words(token, _words(query), key)
    return Place(
        from_ms=from_ms,
        to_ms=to_ms,
        day=day,
        cursors=tuple(cursors),
        after_ms=after_ms,
        after_id=None if after_id is None else TaskId(after_id),
    )


def seal_words(place: Sequence[object], query: Sequence[object], key: bytes) -> str:
    """The token for a place in any listing, bound to what was asked; both are JSON's values."""
    body = json.dumps(place, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_hash(body, query, key) + body).decode().rstrip("=")


def unseal_words(token: str, query: Sequence[object], key: bytes) -> list[Any]:
    """The place in a token.

    Raises:
        InvalidRequest: it was not sealed by us for this query; names the field page_token.
    """
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise _refusal() from None
    mark, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    if not hmac.compare_digest(mark, _hash(body, query, key)):
        raise _refusal()
    place: list[Any] = json.loads(body)
    return place


def _refusal() -> InvalidRequest:
    return refused("page_token", _REFUSAL)


def _words(query: ListQuery) -> list[object]:
    """What a token is bound to; sets are written in order."""
    return [
        query.namespace,
        query.owner,
        sorted(query.states),
        query.handler,
        query.label,
        query.created_from_ms,
        query.created_to_ms,
        query.due_from_ms,
        query.due_to_ms,
    ]


def _hash(body: bytes, query: Sequence[object], key: bytes) -> bytes:
    """A keyed hash of content and query."""
    message = json.dumps(query).encode() + b"\0" + body
    return hashlib.blake2b(message, key=key[:64], digest_size=_SEAL_BYTES).digest()
