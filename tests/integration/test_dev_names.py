"""Names that callers choose for tasks, through the public API: who gets one, and when again."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import timeball
from timeball import errors
from timeball.states import TaskState, state_of

from tests.support import dev_tasks
from tests.support.dev_server import DevServer
from tests.support.polls import eventually

pytestmark = pytest.mark.asyncio
PATIENCE = "20s"
HOUR = "1h"


async def test_while_an_open_task_has_the_name_a_creation_fails_and_says_which(
    client: timeball.AsyncClient,
) -> None:
    first = await dev_tasks.echo.options(chosen_name="report.daily", delay=HOUR).submit("first")
    with pytest.raises(errors.AlreadyExists, match=r"report\.daily") as refusal:
        await dev_tasks.echo.options(chosen_name="report.daily", delay=HOUR).submit("second")
    assert refusal.value.metadata["task"] == first.name
    assert refusal.value.metadata["state"] == "SCHEDULED"


async def test_an_open_task_is_the_answer_for_who_would_use_it(
    client: timeball.AsyncClient,
) -> None:
    wish = dev_tasks.echo.options(chosen_name="use", while_open="use_existing", delay=HOUR)
    first, second = await wish.submit("first"), await wish.submit("second")
    assert first.id == second.id
    assert (await client.get(first.id)).payload.data == b'{"value":"first"}'


async def test_a_waiting_task_is_replaced_and_a_running_one_is_not_disturbed(
    dev: DevServer, client: timeball.AsyncClient
) -> None:
    later = dev_tasks.echo.options(chosen_name="replace", while_open="replace_pending", delay=HOUR)
    first = await later.submit("first")
    soon = dev_tasks.hold.options(chosen_name="replace", while_open="replace_pending")
    second = await soon.submit("names.hold")
    assert await first.status() is TaskState.CANCELLED

    async def runs() -> bool | None:
        return await second.status() is TaskState.RUNNING or None

    await eventually(runs, "the second runs")
    with pytest.raises(timeball.TooLate):
        await later.submit("third")
    (dev.work / "names.hold").touch()
    assert await second.result(timeout=PATIENCE) == "names.hold opened in attempt 1"
    assert not (dev.work / "names.hold.cancelled").exists()


@pytest.mark.parametrize(
    ("after_end", "ends", "may"),
    [
        ("allow", "well", True),
        ("allow", "badly", True),
        ("allow_if_failed", "well", False),
        ("allow_if_failed", "badly", True),
        ("reject", "well", False),
        ("reject", "badly", False),
    ],
)
async def test_after_the_end_the_caller_s_wish_decides(
    client: timeball.AsyncClient, after_end: timeball.options.AfterEnd, ends: str, may: bool
) -> None:
    name = f"end.{after_end}.{ends}"
    one = dev_tasks.echo if ends == "well" else dev_tasks.refuse
    first = await one.options(chosen_name=name).submit("first")
    await client.wait(first.id, timeout=PATIENCE)
    again = dev_tasks.echo.options(chosen_name=name, after_end=after_end, delay=HOUR)
    if not may:
        with pytest.raises(errors.AlreadyExists) as refusal:
            await again.submit("again")
        assert refusal.value.metadata["task"] == first.name
        return
    second = await again.submit("again")
    assert second.id != first.id
    with pytest.raises(errors.AlreadyExists) as refusal:
        await again.submit("once more")
    assert refusal.value.metadata["task"] == second.name


async def test_of_many_who_race_for_a_name_one_gets_it(client: timeball.AsyncClient) -> None:
    wish = dev_tasks.echo.options(chosen_name="race", delay=HOUR)
    answers = await asyncio.gather(
        *(wish.submit(str(number)) for number in range(20)), return_exceptions=True
    )
    made = [each for each in answers if isinstance(each, timeball.Handle)]
    refused = [each for each in answers if isinstance(each, errors.AlreadyExists)]
    assert (len(made), len(refused)) == (1, 19)
    assert {each.metadata["task"] for each in refused} == {made[0].name}


async def test_of_many_who_race_to_replace_one_is_left(client: timeball.AsyncClient) -> None:
    wish = dev_tasks.echo.options(chosen_name="race.on", while_open="replace_pending", delay=HOUR)
    answers = await asyncio.gather(*(wish.submit(str(number)) for number in range(10)))
    states = [state_of((await client.get(each.id)).state) for each in answers]
    assert states.count(TaskState.SCHEDULED) == 1
    assert states.count(TaskState.CANCELLED) == 9


async def test_a_repeated_request_gets_its_task_whoever_has_the_name_by_now(
    client: timeball.AsyncClient,
) -> None:
    request_id = str(uuid.uuid4())
    mine = dev_tasks.echo.options(chosen_name="again", request_id=request_id)
    first = await mine.submit("mine")
    await client.wait(first.id, timeout=PATIENCE)
    other = await dev_tasks.echo.options(chosen_name="again", delay=HOUR).submit("another")
    assert (await mine.submit("mine")).id == first.id
    with pytest.raises(errors.RequestIdReused):
        await mine.submit("something else")
    assert await other.status() is TaskState.SCHEDULED


async def test_a_deleted_task_s_name_is_free(client: timeball.AsyncClient) -> None:
    wish = dev_tasks.echo.options(chosen_name="gone", after_end="reject")
    first = await wish.submit("first")
    await client.wait(first.id, timeout=PATIENCE)
    await client.delete(first.id)
    assert (await wish.submit("second")).id != first.id


async def test_names_go_with_many_others_in_one_call(client: timeball.AsyncClient) -> None:
    plain = dev_tasks.echo.options(delay=HOUR)
    named = dev_tasks.echo.options(delay=HOUR, chosen_name="batch")
    wishes = [plain.prepare("a"), named.prepare("b"), named.prepare("c"), plain.prepare("d")]
    answers = await client.batch_submit(wishes)
    refusals = [isinstance(each, errors.AlreadyExists) for each in answers]
    assert sorted(refusals[1:3]) == [False, True]
    assert refusals[0] is refusals[3] is False


async def test_a_name_that_is_none_is_refused(client: timeball.AsyncClient) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        await dev_tasks.echo.options(chosen_name="Not A Name").submit("no")
    assert [each.field for each in refusal.value.violations] == ["chosen_name"]
    with pytest.raises(errors.InvalidRequest, match="use_existing"):
        await dev_tasks.echo.options(chosen_name="x", while_open="use").submit("no")  # type: ignore[arg-type]
