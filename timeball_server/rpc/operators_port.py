"""The operators' port: health, reflection and channelz, beside the public one and never on it.

What it tells are names of methods and messages, which are public anyway, and who is connected.
Nobody is asked for a key, so it belongs on loopback or into the operators' own network. Calls
cannot be made here: tools list the API here and call it on the public port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_reflection.v1alpha import reflection

from timeball_server.rpc.server import RpcServer, Service


class OperatorsPort(RpcServer):
    """One more server of a process.

    Args:
        address: host:port; port 0 takes a free one.
        described: full names of the services that reflection lists.
    """

    def __init__(self, address: str, described: Sequence[str]) -> None:
        names = (*described, reflection.SERVICE_NAME, _CHANNELZ)
        shown = (*names, "grpc.health.v1.Health")

        def add_reflection(server: grpc.aio.Server) -> None:
            enable: Any = reflection.enable_server_reflection
            enable(shown, server)

        def add_channelz(server: grpc.aio.Server) -> None:
            channelz.add_channelz_servicer(server)

        super().__init__(
            address,
            [
                Service(name=reflection.SERVICE_NAME, register=add_reflection),
                Service(name=_CHANNELZ, register=add_channelz),
            ],
        )


_CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name
