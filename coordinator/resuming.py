"""Resume tokens: which tasks of a watch have been told to be over. Any coordinator reads them.

A token says only what its holder need not be told again, so a token that is lost costs a few
repetitions. It is sealed with a keyed hash over what it says, the names and the namespace.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from timeball.errors import InvalidRequest, Violation

from timeball_server.core.ids import TaskId

_SEAL_BYTES: Final = 12
_REFUSAL: Final = "must come unchanged from a stream with the same names, or be empty"


class WatchBook:
    """What is watched, in which order, and the key of the cluster that seals it."""

    def __init__(self, namespace: str, wanted: Sequence[TaskId | None], key: bytes) -> None:
        self._count = len(wanted)
        names = "\0".join([namespace, *(task_id or "" for task_id in wanted)])
        self._names = hashlib.blake2b(names.encode()).digest()
        self._key = key[:64]

    def token(self, told: Iterable[int]) -> str:
        """The token of a watch that has told these positions to be over."""
        bits = 0
        for position in told:
            bits |= 1 << position
        body = bits.to_bytes((self._count + 7) // 8, "little")
        return base64.urlsafe_b64encode(self._seal(body) + body).decode().rstrip("=")

    def told(self, token: str) -> set[int]:
        """The positions in a token; none in an empty one.

        Raises:
            InvalidRequest: it was not sealed by us for these names; names the field resume_token.
        """
        if not token:
            return set()
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            raise _refusal() from None
        mark, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if not hmac.compare_digest(mark, self._seal(body)):
            raise _refusal()
        bits = int.from_bytes(body, "little")
        return {position for position in range(self._count) if bits >> position & 1}

    def _seal(self, body: bytes) -> bytes:
        message = b"watch\0" + self._names + body
        return hashlib.blake2b(message, key=self._key, digest_size=_SEAL_BYTES).digest()


def _refusal() -> InvalidRequest:
    violation = Violation("resume_token", _REFUSAL)
    return InvalidRequest(f"resume_token: {_REFUSAL}", violations=[violation])
