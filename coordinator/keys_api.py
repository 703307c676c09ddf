"""API keys as administrators handle them: made, listed, revoked. A secret is shown once.

What is kept of a key is a keyed hash. Two keys of one subject may live at a time: enough to
replace one without a pause, and few enough to know them all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

from timeball.errors import FailedPrecondition, InvalidRequest, ResourceNotFound, Violation

from coordinator.access_api import AccessApi, Rows, Wish, page_of_rows
from coordinator.audit import Auditor
from timeball_server.ports.access import ROWS_AT_ONCE, AccessStore, KeyRow, each_row
from timeball_server.ports.clock import Clock
from timeball_server.rpc.auth import KEY_PREFIX, Role
from timeball_server.rpc.live_keys import LiveKeys

MAX_LIVE_KEYS: Final = 2
"""Live keys of one subject."""
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that is wanted. `expires_ms` is wall-clock time, None = never."""

    namespace: str
    subject: str
    roles: frozenset[Role]
    expires_ms: int | None = None


class Made(NamedTuple):
    """A key, and the whole of it for its holder; empty when it was shown before."""

    row: KeyRow
    secret: str


class KeysApi:
    """Keys.

    Args:
        live: hashes keys and is told of revocations; None = this process asks for no keys.
        entropy: makes secrets, so it must be the system's.
        token_key: seals page tokens.
    """

    def __init__(
        self,
        access: AccessStore,
        tenants: AccessApi,
        auditor: Auditor,
        clock: Clock,
        entropy: Random,
        live: LiveKeys | None,
        token_key: bytes,
    ) -> None:
        self._access = access
        self._tenants = tenants
        self._auditor = auditor
        self._clock = clock
        self._entropy = entropy
        self._live = live
        self._token_key = token_key

    async def create(self, wish: Wish, wanted: NewKey) -> Made:
        """Make a key. The same request again answers the same key without its secret.

        Raises:
            FailedPrecondition: two keys of the subject live, its namespace is disabled, or this
                cluster asks for no keys.
            ResourceNotFound: there is no such namespace.
            InvalidRequest: it would have expired already.
        """
        now_ms = self._clock.now().wall_ms
        target, roles = f"{wanted.namespace}/{wanted.subject}", ", ".join(sorted(wanted.roles))
        deed = wish.deed("CreateKey", target, wanted.namespace, roles)
        async with self._auditor.noted(deed):
            if self._live is None:
                raise FailedPrecondition(
                    "this cluster asks for no keys; set access.pepper on every coordinator first"
                )
            if wanted.expires_ms is not None and wanted.expires_ms <= now_ms:
                violation = Violation("expire_time", "must lie in the future")
                raise InvalidRequest("expire_time: must lie in the future", violations=[violation])
            tenant = await self._tenants.namespace(wanted.namespace)
            if not tenant.enabled:
                raise FailedPrecondition(f"namespace {wanted.namespace} is disabled")
            return await self._add(self._live, wish, wanted, now_ms)

    async def page(
        self, namespace: str, subject: str, page_size: int, page_token: str
    ) -> Rows[KeyRow]:
        """A page of a namespace's keys, live or not; of one subject if it is named.

        Raises:
            InvalidRequest: the token is not for this list.
        """

        async def read(after: str, limit: int) -> Sequence[KeyRow]:
            found: list[KeyRow] = []
            while True:
                rows = await self._access.list_rows(KeyRow, namespace, after, ROWS_AT_ONCE)
                found += [row for row in rows if subject in ("", row.subject)]
                if len(rows) < ROWS_AT_ONCE or len(found) >= limit:
                    return found[:limit]
                after = rows[-1].key_id

        query = ["keys", namespace, subject]
        key = self._token_key
        return await page_of_rows(read, lambda row: row.key_id, query, key, page_size, page_token)

    async def revoke(self, wish: Wish, namespace: str, key_id: str) -> KeyRow:
        """Refuse a key from now on; within a minute by every coordinator. Twice is like once.

        Raises:
            ResourceNotFound: there is no such key.
        """
        async with self._auditor.noted(wish.deed("RevokeKey", f"{namespace}/{key_id}", namespace)):
            row = await self._access.read(KeyRow, namespace, key_id)
            if row is None:
                raise ResourceNotFound(f"there is no key {key_id} in namespace {namespace}")
            if row.revoked_ms is None:
                row = replace(row, revoked_ms=self._clock.now().wall_ms)
                await self._access.change(row)
        if self._live is not None:
            self._live.forget(key_id)
        return row

    async def _add(self, live: LiveKeys, wish: Wish, wanted: NewKey, now_ms: int) -> Made:
        """Write the key, and take it back if there are too many now.

        Two that are made at once may both be taken back; never do more than two live.
        """
        key_id = f"{wanted.namespace}_{self._suffix(wish, wanted)}"
        secret = self._entropy.randbytes(SECRET_BYTES)
        words = base64.urlsafe_b64encode(secret).decode().rstrip("=")
        key = f"{KEY_PREFIX}.{key_id}.{words}"
        row = KeyRow(
            namespace=wanted.namespace,
            key_id=key_id,
            digest=live.digest(key),
            subject=wanted.subject,
            roles=tuple(sorted(wanted.roles)),
            created_ms=now_ms,
            created_by=wish.caller.subject,
            request_id=wish.request_id,
            expires_ms=wanted.expires_ms,
        )
        standing = await self._access.add(row)
        if standing.digest != row.digest:
            return Made(standing, "")
        if await self._live_keys(wanted, now_ms) > MAX_LIVE_KEYS:
            await self._access.change(replace(row, revoked_ms=now_ms))
            raise FailedPrecondition(
                f"{wanted.subject} has {MAX_LIVE_KEYS} live keys already; revoke one first"
            )
        live.forget(key_id)
        return Made(row, key)

    async def _live_keys(self, wanted: NewKey, now_ms: int) -> int:
        """How many keys of the subject count now."""
        rows = each_row(self._access, KeyRow, wanted.namespace)
        live = [row.subject == wanted.subject and is_live(row, now_ms) async for row in rows]
        return sum(live)

    def _suffix(self, wish: Wish, wanted: NewKey) -> str:
        """The same for a repetition of one request, else a fresh one."""
        if not wish.request_id:
            return self._entropy.randbytes(8).hex()
        said = json.dumps([wanted.subject, wish.caller.subject, wish.request_id])
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def is_live(row: KeyRow, now_ms: int) -> bool:
    """Whether a key lets anybody in."""
    return row.revoked_ms is None and (row.expires_ms is None or row.expires_ms > now_ms)
