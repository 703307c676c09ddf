"""What users and operators find in lists when all is over: by owner, by state, dead letters."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from coordinator.dead_letters import DeadLetters, LettersPage
from coordinator.hints import STREAMS_OF
from coordinator.listing import Page
from coordinator.node import CoordinatorNode
from coordinator.paging import ListQuery
from tests.support.checker.records import Call, Listed
from tests.support.sim.clients import COORDINATORS
from tests.support.sim.keys import NAMESPACES
from tests.support.sim.world import World
from timeball_server.core.model import EVERYBODY, TaskView

T = TypeVar("T")
PAGE_ITEMS = 60
"""Fewer than there are tasks: pages must join without a gap, and without anything twice."""


async def listed(world: World) -> list[Listed]:
    """Everything that is in any list, each list read to its end."""
    made = {(op.namespace, op.client): None for op in world.history.ops if op.call is Call.CREATE}
    found: list[Listed] = []
    for namespace, owner in made:
        query = ListQuery(namespace=namespace, owner=owner)
        found += _told(await _tasks(world, query), "owner", owner)
    for namespace in NAMESPACES:
        for state in STREAMS_OF:
            query = ListQuery(namespace=namespace, owner=EVERYBODY, states=frozenset({state}))
            found += _told(await _tasks(world, query), "state")
        found += _told(await _letters(world, namespace), "dead letters")
    return found


def _told(tasks: list[TaskView], where: str, owner: str = "") -> list[Listed]:
    return [
        Listed(where=where, owner=owner, task=str(each.task_id), state=str(each.state))
        for each in tasks
    ]


async def _tasks(world: World, query: ListQuery) -> list[TaskView]:
    found: list[TaskView] = []
    token = ""
    while True:

        async def ask(node: CoordinatorNode, token: str = token) -> Page:
            return await node.api.list_by_owner(query, PAGE_ITEMS, token)

        page = await _asked(world, ask)
        found += page.tasks
        token = page.next_token
        if not token:
            return found


async def _letters(world: World, namespace: str) -> list[TaskView]:
    found: list[TaskView] = []
    token = ""
    while True:

        async def ask(node: CoordinatorNode, token: str = token) -> LettersPage:
            cluster = node.cluster
            letters = DeadLetters(cluster.store, cluster.clock, cluster.token_key)
            return await letters.page(namespace, page_size=PAGE_ITEMS, page_token=token)

        page = await _asked(world, ask)
        found += [letter.task for letter in page.letters]
        token = page.next_token
        if not token:
            return found


async def _asked(world: World, ask: Callable[[CoordinatorNode], Coroutine[Any, Any, T]]) -> T:
    return await world.network.call("reader-0", COORDINATORS[0], "list", ask)
