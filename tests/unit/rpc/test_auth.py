from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st
from timeball.errors import PermissionDenied, TaskNotFound, Unauthenticated
from timeball.v1 import admin_service_pb2, schedule_service_pb2, task_pb2, task_service_pb2

from timeball_server.ports.clock import Clock, Now
from timeball_server.rpc.access import (
    ACCESS,
    ADMINISTERED,
    OPEN,
    check_content,
    check_namespace,
    check_role,
)
from timeball_server.rpc.auth import (
    MIN_PEPPER_BYTES,
    ApiKeys,
    InvalidKeys,
    NotLoopback,
    OpenLoopback,
    Principal,
    Role,
    StoredKey,
    key_digest,
    stored_keys,
    with_included,
)
from timeball_server.rpc.validation import shipped_rules

PEPPER = b"p" * MIN_PEPPER_BYTES
KEY = "tb.k1.c2VjcmV0"


class FixedClock(Clock):
    def __init__(self) -> None:
        self.wall_ms = 1_000

    def now(self) -> Now:
        return Now(self.wall_ms, 0)

    async def sleep_ms(self, duration_ms: float) -> None:
        raise AssertionError("authentication never waits")


def stored(key: str = KEY, expires_ms: int | None = None) -> StoredKey:
    return StoredKey(
        digest=key_digest(key, PEPPER),
        subject="billing",
        namespace="shop",
        roles=frozenset({Role.SUBMITTER}),
        expires_ms=expires_ms,
    )


def keys(**entries: StoredKey) -> ApiKeys:
    return ApiKeys(entries, PEPPER, FixedClock())


def caller(*roles: Role, namespace: str = "shop") -> Principal:
    return Principal(subject="s", namespace=namespace, roles=with_included(roles))


def test_a_known_key_is_its_subject_in_its_namespace() -> None:
    assert keys(k1=stored()).authenticate(f"Bearer {KEY}") == Principal(
        subject="billing", namespace="shop", roles=frozenset({Role.SUBMITTER, Role.VIEWER})
    )
    assert keys(k1=stored()).authenticate(f"bearer {KEY}").subject == "billing"
    assert keys(k1=stored(expires_ms=1_001)).authenticate(f"Bearer {KEY}").subject == "billing"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        KEY,
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer  {KEY}",
        f"Bearer {KEY} ",
        "Bearer tb.k2.c2VjcmV0",
        "Bearer tb..c2VjcmV0",
        "Bearer tb.k1.",
        "Bearer tb.k1",
        f"Bearer {KEY}.x",
        f"Bearer TB{KEY[2:]}",
        "Bearer tb.k1.\udcff",
        "Bearer tb.k1." + "x" * 1_000_000,
    ],
)
def test_every_other_credential_is_refused_in_the_same_words(header: str | None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        keys(k1=stored()).authenticate(header)
    with pytest.raises(Unauthenticated) as nothing:
        keys().authenticate(None)
    assert caught.value.message == nothing.value.message
    assert caught.value.violations == ()
    assert caught.value.metadata == {}


def test_an_expired_key_and_another_servers_key_are_refused() -> None:
    for refused in (keys(k1=stored(expires_ms=1_000)), keys(k1=stored("tb.k1.other"))):
        with pytest.raises(Unauthenticated):
            refused.authenticate(f"Bearer {KEY}")
    with pytest.raises(Unauthenticated):
        ApiKeys({"k1": stored()}, b"q" * 32, FixedClock()).authenticate(f"Bearer {KEY}")


SHIFT_MS = 60_000


def test_a_session_stands_for_its_key_until_its_time_is_over() -> None:
    clock = FixedClock()
    access = ApiKeys({"k1": stored()}, PEPPER, clock)
    token = access.open_session(f"Bearer {KEY}", SHIFT_MS)
    assert access.session_holder(token) == access.authenticate(f"Bearer {KEY}")
    assert KEY.rpartition(".")[2] not in token
    clock.wall_ms += SHIFT_MS - 1_000
    assert access.session_holder(token).subject == "billing"
    clock.wall_ms += 1_000
    with pytest.raises(Unauthenticated):
        access.session_holder(token)


def test_a_session_ends_with_its_key_its_secret_and_its_server() -> None:
    clock = FixedClock()
    token = ApiKeys({"k1": stored()}, PEPPER, clock).open_session(f"Bearer {KEY}", SHIFT_MS)
    others = (
        ApiKeys({}, PEPPER, clock),
        ApiKeys({"k1": stored("tb.k1.another")}, PEPPER, clock),
        ApiKeys({"k1": stored(expires_ms=clock.wall_ms)}, PEPPER, clock),
        ApiKeys({"k1": stored()}, PEPPER + b"x", clock),
    )
    for access in others:
        with pytest.raises(Unauthenticated):
            access.session_holder(token)


@given(st.text(max_size=80), st.integers(0, 200), st.sampled_from("0123456789abcdef.k"))
def test_no_other_text_is_a_session(text: str, place: int, letter: str) -> None:
    access = keys(k1=stored())
    token = access.open_session(f"Bearer {KEY}", SHIFT_MS)
    changed = token[:place] + letter + token[place + 1 :]
    for wrong in {text, token + text, text + token, changed, token.swapcase()} - {token}:
        with pytest.raises(Unauthenticated):
            access.session_holder(wrong)


def test_nobody_gets_a_session_without_a_key_and_nobody_needs_one_where_all_is_open() -> None:
    with pytest.raises(Unauthenticated):
        keys(k1=stored()).open_session("Bearer tb.k1.wrong", SHIFT_MS)
    open_to_all = OpenLoopback("127.0.0.1:1")
    token = open_to_all.open_session(None, SHIFT_MS)
    assert (token, open_to_all.session_holder("")) == ("", open_to_all.authenticate(None))


def test_two_keys_of_one_subject_live_side_by_side() -> None:
    both = keys(k1=stored(), k2=stored("tb.k2.new"))
    assert both.authenticate(f"Bearer {KEY}") == both.authenticate("Bearer tb.k2.new")


def test_what_is_stored_is_no_usable_key() -> None:
    kept = stored().digest
    assert b"c2VjcmV0" not in kept
    with pytest.raises(Unauthenticated):
        keys(k1=stored()).authenticate(f"Bearer tb.k1.{kept.hex()}")


def test_a_short_pepper_is_refused() -> None:
    with pytest.raises(InvalidKeys, match="pepper"):
        ApiKeys({}, b"short", FixedClock())


def test_keys_of_the_configuration_are_read_or_all_problems_are_said_at_once() -> None:
    good = {
        "digest": stored().digest.hex(),
        "subject": "billing",
        "namespace": "shop",
        "roles": ["submitter"],
    }
    assert stored_keys({"k1": good}) == {"k1": stored()}
    bad: dict[str, dict[str, Any]] = {
        "a.b": good,
        "k2": good | {"digest": "zz"},
        "k3": good | {"roles": ["root"]},
        "k4": good | {"roles": "admin"},
        "k5": {"expires_ms": "soon"},
    }
    with pytest.raises(InvalidKeys) as caught:
        stored_keys(bad)
    assert [problem.split("'")[1] for problem in caught.value.problems] == [
        *("a.b", "k2", "k3", "k4"),
        *("k5",) * 5,
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7070", "localhost:7070"])
def test_open_access_on_loopback_is_dev_in_default(address: str) -> None:
    everybody = OpenLoopback(address).authenticate(None)
    assert (everybody.subject, everybody.namespace) == ("dev", "default")
    assert everybody.roles == frozenset(Role)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1", ":1", "", "localhost.evil:1"]
)
def test_open_access_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(NotLoopback, match=r"127\.0\.0\.1"):
        OpenLoopback(address)


def test_roles_include_what_they_should_and_no_more() -> None:
    assert with_included([Role.ADMIN]) == frozenset(Role)
    assert Role.ADMIN not in with_included([Role.OPERATOR, Role.PUBLISHER])
    assert with_included([Role.VIEWER]) == {Role.VIEWER}
    assert with_included([]) == frozenset()


def public_methods() -> set[str]:
    files = descriptor_pb2.FileDescriptorSet.FromString(shipped_rules()).file
    return {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        if file.package == "timeball.v1"
        for service in file.service
        for method in service.method
    }


def test_every_public_method_has_exactly_one_access_row() -> None:
    assert set(ACCESS) == public_methods()
    assert not OPEN & set(ACCESS)


@pytest.mark.parametrize("method", sorted(public_methods()))
@pytest.mark.parametrize("role", Role)
def test_a_method_is_open_to_its_role_and_those_that_include_it(method: str, role: Role) -> None:
    if ACCESS[method] in with_included([role]):
        check_role(caller(role), method)
    else:
        with pytest.raises(PermissionDenied) as caught:
            check_role(caller(role), method)
        assert caught.value.metadata == {"role": ACCESS[method].value}


def test_a_method_without_a_row_is_closed_to_everybody() -> None:
    with pytest.raises(PermissionDenied):
        check_role(caller(Role.ADMIN), "/timeball.v1.TaskService/Newer")


@pytest.mark.parametrize("name", ["namespaces/shop/tasks/x", "namespaces/-/tasks/x"])
def test_names_in_the_own_namespace_pass(name: str) -> None:
    check_namespace(caller(), task_service_pb2.GetTaskRequest(name=name))


@pytest.mark.parametrize("parent", ["", "namespaces/-", "namespaces/shop"])
def test_parents_of_the_own_namespace_pass(parent: str) -> None:
    check_namespace(caller(), task_service_pb2.CreateTaskRequest(parent=parent))


@pytest.mark.parametrize(
    "request_class",
    [
        task_service_pb2.GetTaskRequest,
        task_service_pb2.CancelTaskRequest,
        task_service_pb2.RescheduleTaskRequest,
        task_service_pb2.DeleteTaskRequest,
        task_service_pb2.RetryTaskRequest,
        task_service_pb2.WaitTaskRequest,
        schedule_service_pb2.GetScheduleRequest,
        schedule_service_pb2.DeleteScheduleRequest,
    ],
)
def test_a_name_in_another_namespace_is_not_found(request_class: Any) -> None:
    with pytest.raises(TaskNotFound):
        check_namespace(caller(), request_class(name="namespaces/bank/tasks/x"))


def test_an_update_names_its_task_within_the_task() -> None:
    update, task = task_service_pb2.UpdateTaskRequest, task_pb2.Task
    check_namespace(caller(), update(task=task(name="namespaces/-/tasks/x")))
    with pytest.raises(TaskNotFound):
        check_namespace(caller(), update(task=task(name="namespaces/bank/tasks/x")))


@pytest.mark.parametrize(
    "request_class",
    [
        task_service_pb2.CreateTaskRequest,
        task_service_pb2.BatchCreateTasksRequest,
        task_service_pb2.ListTasksRequest,
        schedule_service_pb2.CreateScheduleRequest,
    ],
)
def test_a_parent_in_another_namespace_is_denied_and_does_not_say_whether_it_exists(
    request_class: Any,
) -> None:
    with pytest.raises(PermissionDenied) as caught:
        check_namespace(caller(), request_class(parent="namespaces/bank"))
    assert "bank" not in caught.value.message
    assert [violation.field for violation in caught.value.violations] == ["parent"]


def test_administrators_name_any_namespace_where_they_administer_and_nowhere_else() -> None:
    requests = {
        method: getattr(admin_service_pb2, f"{method.rpartition('/')[2]}Request")
        for method in ACCESS
        if method.startswith("/timeball.v1.AdminService/")
    }
    assert {each.DESCRIPTOR.full_name for each in requests.values()} >= ADMINISTERED
    for method, kind in requests.items():
        fields = kind.DESCRIPTOR.fields_by_name
        for field in {"name", "parent"} & set(fields):
            request = kind(**{field: "namespaces/bank"})
            if kind.DESCRIPTOR.full_name in ADMINISTERED:
                assert ACCESS[method] is Role.ADMIN or method.endswith("/ListAudit")
                check_namespace(caller(Role.ADMIN), request)
            else:
                with pytest.raises(PermissionDenied):
                    check_namespace(caller(Role.ADMIN), request)
            with pytest.raises(PermissionDenied if field == "parent" else TaskNotFound):
                check_namespace(caller(Role.OPERATOR), request)


def urgent() -> task_pb2.Task:
    return task_pb2.Task(handler="a", priority=9)


def test_the_highest_priority_needs_an_operator() -> None:
    request = task_service_pb2.CreateTaskRequest(task=urgent())
    assert check_content(caller(Role.OPERATOR), request, {}) == {}
    with pytest.raises(PermissionDenied) as caught:
        check_content(caller(Role.SUBMITTER), request, {})
    assert [violation.field for violation in caught.value.violations] == ["task.priority"]
    request.task.priority = 8
    assert check_content(caller(Role.SUBMITTER), request, {}) == {}
    scheduled = schedule_service_pb2.CreateScheduleRequest(
        schedule=schedule_service_pb2.Schedule(task=urgent())
    )
    with pytest.raises(PermissionDenied):
        check_content(caller(Role.SUBMITTER), scheduled, {})


@pytest.mark.parametrize(
    ("paths", "is_denied"), [([], True), (["*"], True), (["priority"], True), (["labels"], False)]
)
def test_an_update_to_the_highest_priority_needs_an_operator(
    paths: list[str], is_denied: bool
) -> None:
    mask = FieldMask(paths=paths)
    request = task_service_pb2.UpdateTaskRequest(task=urgent(), update_mask=mask)
    assert check_content(caller(Role.OPERATOR), request, {}) == {}
    if not is_denied:
        assert check_content(caller(Role.SUBMITTER), request, {}) == {}
        return
    with pytest.raises(PermissionDenied) as caught:
        check_content(caller(Role.SUBMITTER), request, {})
    assert [violation.field for violation in caught.value.violations] == ["task.priority"]


def test_items_that_need_an_operator_fail_by_themselves() -> None:
    items = [task_service_pb2.CreateTaskRequest(task=urgent()) for _ in range(2)]
    batch = task_service_pb2.BatchCreateTasksRequest(requests=items)
    earlier = TaskNotFound("said before")
    found = check_content(caller(Role.SUBMITTER), batch, {1: earlier})
    assert found[1] is earlier
    assert isinstance(found[0], PermissionDenied)
