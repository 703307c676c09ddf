"""Where the service is and who asks: explicit arguments, then environment, then defaults.

The only file of the SDK that reads the environment.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from timeball.errors import InvalidRequest, Violation

DEFAULT_ADDRESS = "127.0.0.1:7466"
OWN_NAMESPACE = "-"

ADDRESS_VARIABLE = "TIMEBALL_ADDRESS"
API_KEY_VARIABLE = "TIMEBALL_API_KEY"
NAMESPACE_VARIABLE = "TIMEBALL_NAMESPACE"

_NAMESPACE = re.compile(r"-|[a-z][a-z0-9-]{0,62}")
_KEY = re.compile(r"[\x21-\x7e]+")
_PORT_MAX = 65_535
# Left to gRPC as they are.
_RESOLVER_SCHEMES = ("dns:", "unix:", "ipv4:", "ipv6:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a client needs to know. `namespace` "-" is the credential's own."""

    address: str
    api_key: str | None = field(default=None, repr=False)
    namespace: str = OWN_NAMESPACE

    @property
    def parent(self) -> str:
        """Resource name of the namespace."""
        return f"namespaces/{self.namespace}"

    @property
    def target(self) -> str:
        """The address as gRPC wants it; several are used in turns."""
        return _target(self.address)


def resolve(
    *,
    address: str | None = None,
    api_key: str | None = None,
    namespace: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Explicit values win over the environment, which wins over defaults.

    Raises:
        InvalidRequest: something cannot be meant; every problem is named at once.
    """
    known = os.environ if environment is None else environment
    settings = Settings(
        address=address or known.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS,
        api_key=api_key or known.get(API_KEY_VARIABLE) or None,
        namespace=namespace or known.get(NAMESPACE_VARIABLE) or OWN_NAMESPACE,
    )
    problems = [*_address_problems(settings.address), *_other_problems(settings)]
    if problems:
        sentence = "; ".join(f"{each.field}: {each.description}" for each in problems)
        raise InvalidRequest(sentence, violations=problems)
    return settings


def _addresses(address: str) -> list[str]:
    return [part.strip() for part in address.split(",")]


def _target(address: str) -> str:
    parts = _addresses(address)
    if len(parts) == 1:
        return parts[0]
    family = "ipv6" if parts[0].startswith("[") else "ipv4"
    return f"{family}:{','.join(parts)}"


def _address_problems(address: str) -> list[Violation]:
    if address.startswith(_RESOLVER_SCHEMES):
        return []
    if "://" in address:
        return [Violation("address", f"{address!r}: write host:port, without http:// or the like")]
    parts = _addresses(address)
    problems = [Violation("address", f"{p!r}: write host:port") for p in parts if not _has_port(p)]
    if len(parts) > 1 and not problems:
        problems = _family_problems(parts)
    return problems


def _has_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    bare = host.startswith("[") == host.endswith("]") and (host[:1] == "[" or ":" not in host)
    return bool(host) and bare and port.isdecimal() and 0 < int(port) <= _PORT_MAX


def _family_problems(parts: list[str]) -> list[Violation]:
    hint = "of several addresses each must be an IP address of one family"
    hint += "; for names use one DNS name that answers with all of them"
    try:
        hosts = {ipaddress.ip_address(p.rpartition(":")[0].strip("[]")).version for p in parts}
    except ValueError:
        return [Violation("address", hint)]
    return [] if len(hosts) == 1 else [Violation("address", hint)]


def _other_problems(settings: Settings) -> list[Violation]:
    problems = []
    if not _NAMESPACE.fullmatch(settings.namespace):
        accepted = "write lower-case letters, digits and dashes, a letter first, at most 63"
        problems.append(Violation("namespace", f"{settings.namespace!r}: {accepted}"))
    if settings.api_key is not None and not _KEY.fullmatch(settings.api_key):
        accepted = "it holds blanks or characters outside ASCII; was it cut or pasted twice?"
        problems.append(Violation("api_key", accepted))
    return problems
