"""Which client `submit` goes through when nobody names one."""

from __future__ import annotations

import asyncio

import pytest
import timeball
from timeball import errors
from timeball.defaults import default_async_client, default_client


def test_the_synchronous_default_belongs_to_the_process() -> None:
    client = timeball.connect_sync("127.0.0.1:1", namespace="n", api_key="k")
    try:
        assert default_client() is client
        assert repr(client) == "<Client 127.0.0.1:1 namespaces/n>"
    finally:
        client.close()


def test_the_asynchronous_default_belongs_to_the_loop() -> None:
    async def connect_and_ask() -> int:
        async with timeball.connect("127.0.0.1:1") as client:
            assert default_async_client() is client
            return id(asyncio.get_running_loop())

    async def ask_without_connecting() -> None:
        async with default_async_client() as client:
            assert default_async_client() is client
            assert client.settings.address != "127.0.0.1:1"

    asyncio.run(connect_and_ask())
    asyncio.run(ask_without_connecting())


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="host:port"):
        timeball.connect_sync("http://127.0.0.1:1")
    with pytest.raises(errors.InvalidRequest, match="deadline"):
        timeball.Client(deadline="0s")
