"""Which RPC answers which method and path, read from google.api.http in the descriptors.

Nothing is listed by hand: an RPC with an http rule is served, one without is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from google.api import annotations_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from timeball.v1 import admin_service_pb2, schedule_service_pb2, task_service_pb2

from timeball_server.rest.problems import MethodNotAllowed, PathNotFound
from timeball_server.rest.templates import Template, parse_template

WHOLE_BODY: Final = "*"
"""The body is the request itself, but for what the path says."""
_METHODS: Final = ("get", "post", "put", "patch", "delete")
PUBLIC_SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    task_service_pb2.DESCRIPTOR.services_by_name["TaskService"],
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to call an RPC.

    Attributes:
        method: GET, POST and so on.
        body: field that the body is, `WHOLE_BODY`, or empty for none.
        response_body: field that the answer is; empty = the whole response.
        rpc: the RPC's descriptor.
        request: its request's class.
    """

    method: str
    template: Template
    body: str
    response_body: str
    rpc: MethodDescriptor
    request: type[Message]

    @property
    def rpc_path(self) -> str:
        """Such as /timeball.v1.TaskService/GetTask."""
        return f"/{self.rpc.containing_service.full_name}/{self.rpc.name}"

    @property
    def creates(self) -> bool:
        """Whether success makes something that has an address."""
        return self.method == "POST" and not self.template.verb and bool(self.response_body)


class Found(NamedTuple):
    """A route and what its path says."""

    route: Route
    variables: Mapping[str, str]


def read_routes(services: Iterable[ServiceDescriptor] = PUBLIC_SERVICES) -> tuple[Route, ...]:
    """The routes of these services, in the order of the protos.

    Raises:
        InvalidTemplate: a template has a form that is not served here.
    """
    return tuple(
        route for service in services for rpc in service.methods for route in _routes_of(rpc)
    )


def find_route(routes: Sequence[Route], method: str, path: str) -> Found:
    """The route of a request; HEAD is asked like GET.

    Args:
        path: raw, percent-encoded, without query.

    Raises:
        PathNotFound: nothing is there.
        MethodNotAllowed: something is, for other methods.
        UndecodablePath: a value is not UTF-8.
    """
    wanted = "GET" if method == "HEAD" else method
    here = [
        Found(route, variables)
        for route in routes
        if (variables := route.template.match(path)) is not None
    ]
    for found in here:
        if found.route.method == wanted:
            return found
    if not here:
        raise PathNotFound("nothing is served under this path: / lists what is")
    allowed = {found.route.method for found in here} | {"OPTIONS"}
    allowed |= {"HEAD"} if "GET" in allowed else set()
    raise MethodNotAllowed(f"this path takes {', '.join(sorted(allowed))}", allowed)


def _routes_of(rpc: MethodDescriptor) -> Iterator[Route]:
    options: Any = rpc.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    first = options.Extensions[annotations_pb2.http]
    for rule in (first, *first.additional_bindings):
        method = rule.WhichOneof("pattern")
        if method not in _METHODS:
            raise ValueError(f"{rpc.full_name}: the pattern {method} is not served here")
        yield Route(
            method=method.upper(),
            template=parse_template(getattr(rule, method)),
            body=rule.body,
            response_body=rule.response_body,
            rpc=rpc,
            request=message_factory.GetMessageClass(rpc.input_type),
        )
