"""The limits of AdminService over gRPC, and their messages, field by field. Decides nothing."""

from __future__ import annotations

from typing import Any, Final

from timeball.v1 import admin_service_pb2 as pb

from coordinator.access_api import Wish
from coordinator.access_messages import named_namespace
from coordinator.calls_in import caller
from coordinator.limits_api import LimitsApi
from timeball_server.core.limit_rules import LimitKind
from timeball_server.ports.access import LimitRow, limit_name
from timeball_server.rpc.convert import ms_from_duration, set_duration, set_timestamp

KINDS: Final = {kind: pb.LimitKind.Value(f"LIMIT_KIND_{kind}") for kind in LimitKind}
_KINDS_BACK: Final = {number: kind for kind, number in KINDS.items()}
_PER_MS: Final = 1_000


class LimitMethods:
    """Methods of the service. `context` is Any throughout: the stubs mix two kinds of it."""

    limits: LimitsApi

    async def SetLimit(  # noqa: N802 - the name is the proto's
        self, request: pb.SetLimitRequest, context: Any
    ) -> pb.SetLimitResponse:
        """Set a limit."""
        wanted = _row(_namespace(request.parent), request.limit)
        row = await self.limits.set(_wish(request), wanted)
        return pb.SetLimitResponse(limit=limit_message(row))

    async def ListLimits(  # noqa: N802 - the name is the proto's
        self, request: pb.ListLimitsRequest, context: Any
    ) -> pb.ListLimitsResponse:
        """A page of limits."""
        namespace = _namespace(request.parent)
        page = await self.limits.page(namespace, request.page_size, request.page_token)
        return pb.ListLimitsResponse(
            limits=[limit_message(row) for row in page.rows], next_page_token=page.next_token
        )

    async def DeleteLimit(  # noqa: N802 - the name is the proto's
        self, request: pb.DeleteLimitRequest, context: Any
    ) -> pb.DeleteLimitResponse:
        """Take a limit back."""
        limit = pb.Limit(kind=request.kind, pattern=request.pattern)
        row = _row(_namespace(request.parent), limit)
        await self.limits.delete(_wish(request), row.name, row)
        return pb.DeleteLimitResponse()


def limit_message(row: LimitRow) -> pb.Limit:
    """A limit."""
    kind = LimitKind(row.kind)
    message = pb.Limit(kind=KINDS[kind], pattern=row.pattern, reason=row.reason, actor=row.actor)
    if row.concurrency:
        message.concurrency = row.concurrency
    if row.starts:
        message.rate.starts, message.rate.burst = row.starts, row.burst
        set_duration(message.rate.per, row.per_ms)
    if kind is LimitKind.NAMESPACE:
        message.weight = row.weight
    set_timestamp(message.update_time, row.updated_ms)
    return message


def _row(namespace: str, limit: pb.Limit) -> LimitRow:
    """The row of a limit that somebody wants; who and when is filled in where it is set."""
    kind, rate = _KINDS_BACK[limit.kind], limit.rate
    has_rate = limit.HasField("rate")
    return LimitRow(
        name=limit_name(namespace, kind, limit.pattern),
        namespace=namespace,
        kind=kind.value,
        pattern=limit.pattern,
        concurrency=limit.concurrency,
        starts=rate.starts if has_rate else 0,
        per_ms=ms_from_duration(rate.per) if rate.HasField("per") else _PER_MS,
        burst=rate.burst or 1,
        weight=limit.weight or 1,
        enabled=True,
        reason=limit.reason,
        actor="",
        updated_ms=0,
    )


def _wish(request: Any) -> Wish:
    """Who wants this, by which request."""
    return Wish(caller=caller(), request_id=request.request_id)


def _namespace(name: str) -> str:
    return named_namespace(name, caller().namespace)
