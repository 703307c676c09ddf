"""What operators and administrators ask of the service, as flows for both clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from timeball import _requests
from timeball._flow import Flow, Kit, Method, call
from timeball.errors import refused
from timeball.v1 import admin_service_pb2 as pb

_PATH = "/timeball.v1.AdminService/"
PAGE_SIZE_MOST = 1_000
LIMIT_DEFAULT = 1_000
_PERIODS = {"s": "1s", "min": "1m", "m": "1m", "h": "1h"}


def method(name: str) -> Method[Any, Any]:
    """A method of the service; its messages are named after it."""
    return Method(_PATH + name, getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response"))


def collect(kit: Kit, name: str, request: Any, field: str, limit: int) -> Flow[list[Any]]:
    """The items of a list, page after page, at most so many."""
    found: list[Any] = []
    while True:
        request.page_size = max(1, min(limit - len(found), PAGE_SIZE_MOST))
        answer = yield from call(kit, method(name), request)
        found += getattr(answer, field)
        request.page_token = answer.next_page_token
        if not request.page_token or len(found) >= limit:
            return found[:limit]


def ask(kit: Kit, name: str, request: Any, field: str) -> Flow[Any]:
    """One field of one answer."""
    answer = yield from call(kit, method(name), request)
    return getattr(answer, field)


def say(kit: Kit, name: str, request: Any) -> Flow[None]:
    """A change whose answer says nothing."""
    yield from call(kit, method(name), request)


def change(kit: Kit, rpc: str, field: str, request_id: str | None, /, **said: Any) -> Flow[Any]:
    """Change something; repetitions carry one request id."""
    request = method(rpc).request(request_id=kit.request_id(request_id), **said)
    return (yield from ask(kit, rpc, request, field))


def create_key(
    kit: Kit,
    subject: str,
    roles: Iterable[str],
    expires: datetime | None,
    namespace: str,
    request_id: str | None,
) -> Flow[pb.CreateKeyResponse]:
    """Makes a key."""
    request = pb.CreateKeyRequest(
        parent=parent_of(kit, namespace),
        subject=subject,
        roles=[role_number(role) for role in roles],
        request_id=kit.request_id(request_id),
    )
    if expires is not None:
        request.expire_time.CopyFrom(_requests.timestamp(expires, "expires"))
    answer: pb.CreateKeyResponse = yield from call(kit, method("CreateKey"), request)
    return answer


def limit_request(
    kit: Kit,
    kind: str,
    pattern: str,
    said: Mapping[str, Any],
    namespace: str,
    request_id: str | None,
) -> pb.SetLimitRequest:
    """The request that sets a limit."""
    limit = pb.Limit(kind=limit_kind(kind), pattern=pattern, reason=said["reason"])
    for name in ("concurrency", "weight"):
        if said[name] is not None:
            setattr(limit, name, said[name])
    if said["rate"] is not None:
        starts, _, per = said["rate"].partition("/")
        if not starts.isascii() or not starts.isdigit() or len(starts) > 9 or not per:
            raise refused("rate", f"{said['rate']!r} is no rate; say 10/s, 600/min or 5/30s")
        limit.rate.starts = int(starts)
        spelt = _PERIODS.get(per, per)
        limit.rate.per.CopyFrom(_requests.duration(spelt, "rate"))
        limit.rate.burst = said["burst"] or 0
    elif said["burst"] is not None:
        raise refused("burst", "is part of a rate; say the rate too")
    return pb.SetLimitRequest(
        parent=parent_of(kit, namespace), limit=limit, request_id=kit.request_id(request_id)
    )


def redrive(
    kit: Kit,
    tasks: Sequence[str],
    handler: str,
    failed: tuple[datetime | None, datetime | None],
    limit: int,
    request_id: str | None,
) -> Flow[list[pb.RedriveResult]]:
    """Redrives the named dead letters, or those of a handler and time range."""
    request = pb.RedriveDeadLettersRequest(
        parent=kit.settings.parent, handler=handler, request_id=kit.request_id(request_id)
    )
    if not tasks:
        set_range(request, "failed", failed)
        return (yield from collect(kit, "RedriveDeadLetters", request, "results", limit))
    results: list[pb.RedriveResult] = []
    for start in range(0, len(tasks), PAGE_SIZE_MOST):
        del request.names[:]
        part = tasks[start : start + PAGE_SIZE_MOST]
        request.names.extend(_requests.task_name(kit.settings, task) for task in part)
        results += yield from ask(kit, "RedriveDeadLetters", request, "results")
    return results


def audit(
    kit: Kit,
    namespace: str | None,
    actor: str,
    action: str,
    noted: tuple[datetime | None, datetime | None],
    limit: int,
) -> Flow[list[pb.AuditEntry]]:
    """Reads the audit log; namespace None = what concerns the whole cluster."""
    parent = "" if namespace is None else parent_of(kit, namespace)
    request = pb.ListAuditRequest(parent=parent, actor=actor, action=action)
    set_range(request, "noted", noted)
    return (yield from collect(kit, "ListAudit", request, "entries", limit))


def set_range(request: Any, name: str, bounds: tuple[datetime | None, datetime | None]) -> None:
    """Fill the two fields of a time range."""
    for end, bound in zip(("from", "to"), bounds, strict=True):
        if bound is not None:
            field = f"{name}_{end}"
            getattr(request, field).CopyFrom(_requests.timestamp(bound, field))


def parent_of(kit: Kit, namespace: str) -> str:
    """A namespace as a parent; empty = the client's own."""
    return f"namespaces/{namespace}" if namespace else kit.settings.parent


def child_of(kit: Kit, namespace: str, kind: str, name: str) -> str:
    """The resource name of a user or key given by its own name or its resource name."""
    is_whole = name.startswith("namespaces/") and name.count("/") == 3
    return name if is_whole else f"{parent_of(kit, namespace)}/{kind}/{name}"


def key_name(kit: Kit, key: str) -> str:
    """The resource name of a key given by its id, which begins with its namespace."""
    return child_of(kit, key.rpartition("_")[0], "keys", key)


def limit_kind(kind: str) -> pb.LimitKind.ValueType:
    """The number of a kind of limit."""
    try:
        return pb.LimitKind.Value(f"LIMIT_KIND_{kind.upper()}")
    except ValueError:
        raise refused(
            "kind", f"there is no limit of {kind!r}; there are key, handler, namespace"
        ) from None


def role_number(role: str) -> pb.AccessRole.ValueType:
    """The number of a role."""
    try:
        return pb.AccessRole.Value(f"ACCESS_ROLE_{role.upper()}")
    except ValueError:
        names = [name.removeprefix("ACCESS_ROLE_").lower() for name, _ in pb.AccessRole.items()]
        known = ", ".join(names[1:])
        raise refused("roles", f"there is no role {role!r}; there are {known}") from None
