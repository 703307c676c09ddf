"""Who calls, and what they may do: credentials, roles and one row per public method.

Owns no secret: keys are stored as keyed hashes, the pepper lives elsewhere. Never says why a
credential was refused, and never lets a caller tell another namespace's things from nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

from timeball.errors import Unauthenticated

from timeball_server.ports.clock import Clock

MAX_CREDENTIAL_CHARACTERS: Final = 512
MIN_PEPPER_BYTES: Final = 16
KEY_PREFIX: Final = "tb"
DEFAULT_NAMESPACE: Final = "default"
_DIGEST_BYTES: Final = 32
_SESSION: Final = re.compile(r"([^.]{1,256})\.([0-9]{1,15})\.([0-9a-f]{64})")
_SIGNED_OUT = "the session is over or not known; sign in with an API key"
_REFUSED = "the credential is missing or not known; send authorization: Bearer tb.{key id}.{secret}"


class Role(StrEnum):
    """What a credential may be allowed to do."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    PUBLISHER = "publisher"
    ADMIN = "admin"


_INCLUDED: Final[Mapping[Role, frozenset[Role]]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.SUBMITTER: frozenset({Role.SUBMITTER, Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.SUBMITTER, Role.VIEWER}),
    Role.PUBLISHER: frozenset({Role.PUBLISHER, Role.VIEWER}),
    Role.ADMIN: frozenset(Role),
}


def with_included(roles: Iterable[Role]) -> frozenset[Role]:
    """These roles and the ones they include."""
    return frozenset().union(*(_INCLUDED[role] for role in roles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls. `roles` hold the included ones too."""

    subject: str
    namespace: str
    roles: frozenset[Role]


class Authenticator(Protocol):
    """Turns a credential into a principal."""

    def authenticate(self, authorization: str | None) -> Principal:
        """Who sent this.

        Args:
            authorization: value of the header of that name, None when there is none.

        Raises:
            Unauthenticated: nobody that is known; never says why.
        """
        ...


@runtime_checkable
class Sessions(Protocol):
    """Lets browsers exchange a credential for a short session, so that none of them keeps it."""

    def open_session(self, authorization: str | None, lasts_ms: int) -> str:
        """A token that stands for the credential's holder until the time is over.

        Raises:
            Unauthenticated: as for the credential.
        """
        ...

    def session_holder(self, token: str) -> Principal:
        """Who was given this token.

        Raises:
            Unauthenticated: the session is over, the key is gone, or the token is none of ours.
        """
        ...


class NotLoopback(ValueError):
    """Open access was asked for on an address that others can reach."""


class OpenLoopback(Authenticator, Sessions):
    """Everybody is subject "dev" of namespace "default" with every role; for development only.

    Args:
        address: where the server will listen; a loopback address.

    Raises:
        NotLoopback: others could reach it.
    """

    def __init__(self, address: str) -> None:
        if not is_loopback(address):
            raise NotLoopback(
                f"{address} can be reached from other machines, and open access lets everybody "
                "do everything: listen on 127.0.0.1, or configure API keys"
            )
        self._principal = Principal(
            subject="dev", namespace=DEFAULT_NAMESPACE, roles=frozenset(Role)
        )

    def authenticate(self, authorization: str | None) -> Principal:
        """The same for everybody, whatever they send."""
        return self._principal

    def open_session(self, authorization: str | None, lasts_ms: int) -> str:
        """Nobody needs one."""
        return ""

    def session_holder(self, token: str) -> Principal:
        """The same for everybody, whatever they send."""
        return self._principal


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """An API key as it is kept. `digest` is the keyed hash; `expires_ms` is wall-clock time."""

    digest: bytes
    subject: str
    namespace: str
    roles: frozenset[Role]
    expires_ms: int | None = None


class InvalidKeys(ValueError):
    """The configured keys are wrong; `problems` has a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ApiKeys(Authenticator, Sessions):
    """Keys tb.{key id}.{secret}; several live ones of one subject allow rotation.

    Args:
        keys: by key id.
        pepper: secret of the server, kept apart from the keys.
        clock: says what has expired.

    Raises:
        InvalidKeys: the pepper is too short.
    """

    def __init__(self, keys: Mapping[str, StoredKey], pepper: bytes, clock: Clock) -> None:
        if len(pepper) < MIN_PEPPER_BYTES:
            raise InvalidKeys([f"the pepper needs at least {MIN_PEPPER_BYTES} bytes"])
        self._keys = dict(keys)
        self._pepper = pepper
        self._clock = clock
        self._nobody = StoredKey(
            digest=bytes(_DIGEST_BYTES), subject="", namespace="", roles=frozenset()
        )

    def authenticate(self, authorization: str | None) -> Principal:
        """See the protocol; an unknown key id costs as much as a wrong secret."""
        key = _bearer(authorization)
        key_id = _key_id(key)
        stored = self._keys.get(key_id, self._nobody)
        equal = hmac.compare_digest(key_digest(key, self._pepper), stored.digest)
        if not equal or self._expired(stored) or stored is self._nobody:
            raise Unauthenticated(_REFUSED)
        return _principal(stored)

    def open_session(self, authorization: str | None, lasts_ms: int) -> str:
        """{key id}.{end in seconds}.{seal}: kept by nobody, and over at once with its key."""
        self.authenticate(authorization)
        key_id = _key_id(_bearer(authorization))
        ends_s = (self._clock.now().wall_ms + lasts_ms) // 1_000
        return f"{key_id}.{ends_s}.{self._seal(key_id, str(ends_s), self._keys[key_id])}"

    def session_holder(self, token: str) -> Principal:
        """See the protocol; an unknown key id costs as much as a wrong seal."""
        match = _SESSION.fullmatch(token)
        if match is None:
            raise Unauthenticated(_SIGNED_OUT)
        key_id, ends_s, seal = match.groups()
        stored = self._keys.get(key_id, self._nobody)
        equal = hmac.compare_digest(self._seal(key_id, ends_s, stored), seal)
        over = int(ends_s) * 1_000 <= self._clock.now().wall_ms
        if not equal or over or self._expired(stored) or stored is self._nobody:
            raise Unauthenticated(_SIGNED_OUT)
        return _principal(stored)

    def _expired(self, stored: StoredKey) -> bool:
        return stored.expires_ms is not None and stored.expires_ms <= self._clock.now().wall_ms

    def _seal(self, key_id: str, ends_s: str, stored: StoredKey) -> str:
        """Holds for one key with one secret: rotating either ends its sessions."""
        said = b"console session\0" + f"{key_id}\0{ends_s}\0".encode() + stored.digest
        return hmac.digest(self._pepper, said, "sha256").hex()


def key_digest(key: str, pepper: bytes) -> bytes:
    """The keyed hash under which a whole key is stored."""
    return hmac.digest(pepper, key.encode("utf-8", "replace"), "sha256")


def key_id_of(authorization: str | None) -> str:
    """The key id in a header of that name, empty when there is none."""
    return _key_id(_bearer(authorization))


def stored_keys(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, StoredKey]:
    """Read keys from configuration.

    Args:
        entries: by key id: digest (64 hexadecimal digits), subject, namespace, roles (list),
            and optionally expires_ms.

    Raises:
        InvalidKeys: with every problem at once.
    """
    problems: list[str] = []
    found = {key_id: _stored(key_id, entry, problems) for key_id, entry in entries.items()}
    if problems:
        raise InvalidKeys(problems)
    return {key_id: key for key_id, key in found.items() if key is not None}


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a listening address (host:port)."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bearer(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    if len(key) > MAX_CREDENTIAL_CHARACTERS or scheme.lower() != "bearer":
        return ""
    return key if key.startswith(f"{KEY_PREFIX}.") else ""


def _key_id(key: str) -> str:
    return key.split(".")[1] if key.count(".") == 2 else ""


def _principal(stored: StoredKey) -> Principal:
    return Principal(
        subject=stored.subject,
        namespace=stored.namespace,
        roles=with_included(stored.roles),
    )


def _stored(key_id: str, entry: Mapping[str, Any], problems: list[str]) -> StoredKey | None:
    wrong: list[str] = []
    digest = _hex(entry.get("digest"))
    if len(digest) != _DIGEST_BYTES:
        wrong.append("digest must be 64 hexadecimal digits")
    if not key_id or "." in key_id:
        wrong.append("a key id is one word without dots")
    wrong += [f"{name} must be set" for name in ("subject", "namespace") if not entry.get(name)]
    names = entry.get("roles")
    unknown = [name for name in names if name not in set(Role)] if isinstance(names, list) else []
    if not isinstance(names, list) or not names or unknown:
        wrong.append(f"roles must be a list of {', '.join(Role)}")
    expires_ms = entry.get("expires_ms")
    if expires_ms is not None and not isinstance(expires_ms, int):
        wrong.append("expires_ms must be a number of milliseconds since 1970")
    problems += [f"API key {key_id!r}: {problem}" for problem in wrong]
    if wrong:
        return None
    return StoredKey(
        digest=digest,
        subject=str(entry["subject"]),
        namespace=str(entry["namespace"]),
        roles=frozenset(Role(name) for name in names or ()),
        expires_ms=expires_ms,
    )


def _hex(text: object) -> bytes:
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""
