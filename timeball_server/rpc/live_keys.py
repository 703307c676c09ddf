"""API keys of the store, beside those of a file: read when they are first used, and kept fresh.

What is known of a key is at most a minute old; then it counts for nothing until it was read
again. So a key that was revoked, or whose user or namespace was disabled, is refused everywhere
within a minute, and without the store nobody is let in whom it does not know. Never keeps a
secret, and never says why a credential was refused, but to its rightful holder.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, runtime_checkable

from timeball.errors import (
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

from timeball_server.ports.access import CLUSTER, AccessStore, KeyRow, NamespaceRow, UserRow
from timeball_server.ports.clock import Clock
from timeball_server.rpc.auth import (
    ApiKeys,
    Principal,
    Role,
    StoredKey,
    key_digest,
    key_id_of,
)

FRESH_MS: Final = 60_000
"""What was read of a key is believed for this long."""
REFRESH_MS: Final = 20_000
"""Keys in use are read again this often."""
IDLE_MS: Final = 600_000
"""A key that nobody used for this long is forgotten here."""
MAX_CACHED_KEYS: Final = 10_000
MAX_UNKNOWN_IDS: Final = 10_000
UNKNOWN_MS: Final = 5_000
"""An id that was not there is not looked for again for this long."""
MAX_LOOKUPS: Final = 50
"""Keys that one coordinator looks for at a time; more callers are sent away for a moment."""
REFRESH_AT_ONCE: Final = 32
ValueT = TypeVar("ValueT")
_KEY_ID: Final = re.compile(r"([a-z][a-z0-9-]{0,62})_[0-9a-z]{1,32}")


@runtime_checkable
class Learner(Protocol):
    """An authenticator that may have to read before it can say who calls."""

    def knows(self, authorization: str | None) -> bool:
        """Whether `authenticate` can answer now."""
        ...

    async def learn(self, authorization: str | None) -> None:
        """Read what is missing.

        Raises:
            Unavailable: it cannot be read now. ResourceExhausted: too many are being read.
        """
        ...


@dataclass(slots=True)
class _Known:
    """What was read of a key: who it stands for, and whether its user and namespace may act."""

    key: StoredKey
    is_allowed: bool
    read_mono_ms: int
    used_mono_ms: int


class LiveKeys(ApiKeys, Learner):
    """Keys of a file and of the store.

    Args:
        keys: of the file, by key id; they never need the store.
        pepper: secret of the server, kept apart from the keys.
    """

    def __init__(self, keys: Mapping[str, StoredKey], pepper: bytes, clock: Clock) -> None:
        super().__init__(keys, pepper, clock)
        self._of_file = frozenset(keys)
        self._access: AccessStore | None = None
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, int] = OrderedDict()
        self._reads: dict[str, asyncio.Task[None]] = {}

    def attach(self, access: AccessStore) -> None:
        """Where keys are kept; before the first call."""
        self._access = access

    def digest(self, key: str) -> bytes:
        """What is kept of a whole key."""
        return key_digest(key, self._pepper)

    def knows(self, authorization: str | None) -> bool:
        """Whether nothing has to be read about this credential."""
        key_id = key_id_of(authorization)
        if key_id in self._of_file or not _KEY_ID.fullmatch(key_id) or self._access is None:
            return True
        known = self._known.get(key_id)
        if known is not None:
            return self._age_ms(known) <= FRESH_MS
        missed_mono_ms = self._unknown.get(key_id)
        return missed_mono_ms is not None and self._now_ms() - missed_mono_ms <= UNKNOWN_MS

    async def learn(self, authorization: str | None) -> None:
        """See the protocol; callers with one key share one read."""
        key_id = key_id_of(authorization)
        read = self._reads.get(key_id)
        if read is None:
            if len(self._reads) >= MAX_LOOKUPS:
                sentence = "too many unknown credentials are being looked up; repeat in a moment"
                raise ResourceExhausted(sentence, retry_after_s=1.0)
            read = asyncio.create_task(self._read(key_id), name="read an API key")
            self._reads[key_id] = read
            read.add_done_callback(lambda done: self._forget_read(key_id, done))
        await asyncio.shield(read)

    def authenticate(self, authorization: str | None) -> Principal:
        """See the protocol."""
        return self._allowed(key_id_of(authorization), super().authenticate(authorization))

    def session_holder(self, token: str) -> Principal:
        """See the protocol."""
        return self._allowed(token.split(".", maxsplit=1)[0], super().session_holder(token))

    async def refresh(self) -> None:
        """Read the keys in use again, and forget those that are not; never raises."""
        now_mono_ms = self._now_ms()
        for key_id, known in list(self._known.items()):
            if now_mono_ms - known.used_mono_ms > IDLE_MS:
                self.forget(key_id)
        due = [key for key, known in self._known.items() if self._age_ms(known) >= REFRESH_MS // 2]
        for start in range(0, len(due), REFRESH_AT_ONCE):
            part = due[start : start + REFRESH_AT_ONCE]
            # What could not be read keeps its age, and counts for nothing when it is too old.
            await asyncio.gather(*(self._read(key_id) for key_id in part), return_exceptions=True)

    def forget(self, key_id: str) -> None:
        """The next use of this key reads it."""
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        if key_id not in self._of_file:
            self._keys.pop(key_id, None)

    def forget_all(self) -> None:
        """The next use of any stored key reads it."""
        for key_id in [*self._known, *self._unknown]:
            self.forget(key_id)

    def _allowed(self, key_id: str, principal: Principal) -> Principal:
        """Those whose secret was right may be told what holds them up."""
        known = self._known.get(key_id)
        if known is None:
            return principal
        if self._age_ms(known) > FRESH_MS:
            raise Unavailable("credentials cannot be checked right now; repeat in a moment")
        known.used_mono_ms = self._now_ms()
        self._known.move_to_end(key_id)
        if not known.is_allowed:
            raise PermissionDenied(
                f"user {principal.subject} or namespace {principal.namespace} is disabled; "
                "ask an administrator"
            )
        return principal

    async def _read(self, key_id: str) -> None:
        """Read one key and what it depends on."""
        access, match = self._access, _KEY_ID.fullmatch(key_id)
        if access is None or match is None:
            return
        asked_mono_ms = self._now_ms()
        namespace = match[1]
        row = await access.read(KeyRow, namespace, key_id)
        if row is None or row.revoked_ms is not None:
            self.forget(key_id)
            _remember(self._unknown, key_id, asked_mono_ms, MAX_UNKNOWN_IDS)
            return
        tenant, user = await asyncio.gather(
            access.read(NamespaceRow, CLUSTER, namespace),
            access.read(UserRow, namespace, row.subject),
        )
        is_allowed = (tenant is None or tenant.enabled) and (user is None or user.enabled)
        used_mono_ms = self._known[key_id].used_mono_ms if key_id in self._known else asked_mono_ms
        known = _Known(_stored(row), is_allowed, asked_mono_ms, used_mono_ms)
        self._keys[key_id] = known.key
        for old in _remember(self._known, key_id, known, MAX_CACHED_KEYS):
            self.forget(old)

    def _forget_read(self, key_id: str, read: asyncio.Task[None]) -> None:
        """Those who waited get the error; when all of them have gone, nobody misses it."""
        del self._reads[key_id]
        if not read.cancelled():
            read.exception()

    def _age_ms(self, known: _Known) -> int:
        return self._now_ms() - known.read_mono_ms

    def _now_ms(self) -> int:
        return self._clock.now().mono_ms


def _stored(row: KeyRow) -> StoredKey:
    known = {role.value for role in Role}
    return StoredKey(
        digest=row.digest,
        subject=row.subject,
        namespace=row.namespace,
        roles=frozenset(Role(name) for name in row.roles if name in known),
        expires_ms=row.expires_ms,
    )


def _remember(cache: OrderedDict[str, ValueT], name: str, value: ValueT, most: int) -> list[str]:
    """Keep a value; the names that had to go for it, those unused for longest."""
    cache[name] = value
    cache.move_to_end(name)
    return [cache.popitem(last=False)[0] for _ in range(len(cache) - most)]
