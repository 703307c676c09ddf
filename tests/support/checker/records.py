"""Records of histories: operations, effects, faults and last reads.

One kind of record per thing that can be seen from outside. Times are microseconds of one clock
that no fault touches. Knows nothing of how a run was made, and nothing of the product: states and
causes are the words of its public API.
"""

from __future__ import annotations

from enum import StrEnum

from tests.support.checker.base import NEVER_US, Record
from tests.support.checker.bounds import Backoff, Bounds


class Kind(StrEnum):
    """How an operation ended for its client. INFO = it may or may not hold, for ever."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Call(StrEnum):
    """What a client can ask for."""

    CREATE = "create"
    GET = "get"
    WAIT = "wait"
    WATCH = "watch"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    UPDATE = "update"
    RESCHEDULE = "reschedule"
    DELETE = "delete"
    CREATE_SCHEDULE = "create schedule"
    END_SCHEDULE = "end schedule"
    GET_SCHEDULE = "get schedule"
    PAUSE_SCHEDULE = "pause schedule"
    RESUME_SCHEDULE = "resume schedule"
    BACKFILL = "backfill"
    STOP_BACKFILL = "stop backfill"
    UPDATE_SCHEDULE = "update schedule"
    TRIGGER_SCHEDULE = "trigger schedule"


OF_SCHEDULES = frozenset(
    {
        Call.CREATE_SCHEDULE,
        Call.END_SCHEDULE,
        Call.GET_SCHEDULE,
        Call.PAUSE_SCHEDULE,
        Call.RESUME_SCHEDULE,
        Call.BACKFILL,
        Call.STOP_BACKFILL,
        Call.UPDATE_SCHEDULE,
        Call.TRIGGER_SCHEDULE,
    }
)
"""What is asked of schedules."""


class Mode(StrEnum):
    """How often an attempt may begin when its fate is unknown."""

    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    AT_MOST_ONCE = "AT_MOST_ONCE"


class Wish(Record, frozen=True, kw_only=True):
    """What a client wants of one task.

    Attributes:
        due_us: at an instant, or None: `delay_us` after the service has taken it.
        late_us: how late the client allows a start to be; None = it says nothing.
        payload: a digest of what the handler must be given; `version`: the name of it at first.
        key: no more than `most` of all that have this key run at once; empty = it has none.
        bounds, backoff: of tasks whose times are judged one by one; None = they are not.
        rates: its starts count for these.
        cap: no more than `places` of all that have this cap run at once in one process.
        crowd: in a line of those who wait for an executor with it, `weight` is its tenant's share.
        rank: in the line of a rate those of a higher one go first.
    """

    mode: Mode
    due_us: int | None = None
    delay_us: int = 0
    max_attempts: int = 1
    payload: str = ""
    version: str = ""
    key: str = ""
    most: int = 0
    bounds: Bounds | None = None
    backoff: Backoff | None = None
    rates: tuple[str, ...] = ()
    cap: str = ""
    places: int = 0
    crowd: str = ""
    tenant: str = ""
    weight: int = 1
    rank: int = 0

    @property
    def waits(self) -> bool:
        """Whether the work of others may make it late, and what that allows is judged apart."""
        return bool(self.rates or self.cap or self.crowd)


class Days(Record, frozen=True, kw_only=True):
    """Days of a calendar that match both fields, in lists with commas.

    Attributes:
        dates: `*`, a day of the month, `L` the last one, `LW` the last from Monday to Friday, `15W`
            the one of these that is nearest to the 15th, in the same month.
        weekdays: `*`, `fri`, `fri#2` the second Friday of the month, `friL` the last one.
        months: numbers; none = every month.
        times_s: local times of such a day, in seconds since midnight; none = whatever else the
            rhythm names on such a day.
    """

    dates: str = "*"
    weekdays: str = "*"
    months: tuple[int, ...] = ()
    times_s: tuple[int, ...] = ()


class Rhythm(Record, frozen=True, kw_only=True):
    """What a client wants of one schedule: phase + n x every, strictly after its creation.

    Attributes:
        alone: no run begins while an earlier one has not ended; such times are passed over.
        overlap: the rule for a time at which an earlier run is in hand: SKIP; ALLOW runs beside it,
            as many as there are `places`, 0 = any number; BUFFER_ONE and BUFFER let one, or as many
            as there are `places`, wait for its end.
        hour: only while clocks of `zone` show this hour of the day, None = always.
        days: only on these days of `zone`; if they have times of their own, these and nothing else.
        fold: which pass of an hour that clocks show twice: FIRST, SECOND or BOTH.
        gap: what becomes of a time of `days` that clocks leave out: RUN_AT_END of that, or SKIP.
        spread_us: runs are due so much later than their nominal times, at most, and not all alike.
        zero_ms: what UTC clocks showed at the history's time 0, in milliseconds since 1970.
        edited: people change it while it fires; it is judged version by version.
        catch_up: what becomes of times at which nobody was there: SKIP, ONE or ALL, of those that
            are no older than `reach_us`. `waits_us`: a time waits no longer for earlier runs, None
            = for ever.
        delay_us: it fires so long after the end of its runs instead; 0 = it has times of its own.
    """

    every_us: int
    phase_us: int = 0
    max_runs: int = 0
    end_us: int | None = None
    alone: bool = False
    overlap: str = "ALLOW"
    places: int = 0
    hour: int | None = None
    zone: str = "UTC"
    fold: str = "BOTH"
    gap: str = "RUN_AT_END"
    spread_us: int = 0
    zero_ms: int = 0
    days: Days | None = None
    edited: bool = False
    catch_up: str = "ONE"
    reach_us: int = 600_000_000
    waits_us: int | None = None
    delay_us: int = 0


class Try(Record, frozen=True, kw_only=True):
    """An attempt as an answer shows it. `late_us` None = the answer does not say.

    `kind` is the name of its failure.
    """

    number: int
    outcome: str
    late_us: int | None = None
    kind: str = ""
    priority: int | None = None


class Seen(Record, frozen=True, kw_only=True):
    """A task as an answer shows it.

    Attributes:
        place: numbers that grow with every change, from the newest accepted event.
        doubts: attempts of which the answer says that they may still begin.
        changed_us: when the newest accepted event was written, by its writer's clock.
        result: what its handler gave back; None = nothing is known of that.
    """

    state: str
    ended: bool
    cause: str = ""
    place: tuple[int, int] = (0, 0)
    revision: int = 0
    doubts: tuple[int, ...] = ()
    tries: tuple[Try, ...] = ()
    changed_us: int | None = None
    result: str | None = None


class SeenBackfill(Record, frozen=True, kw_only=True):
    """A backfill as an answer shows it."""

    name: str
    state: str
    launched: int


class SeenPlan(Record, frozen=True, kw_only=True):
    """A schedule as an answer shows it. `next_us` None = there is no nominal time to come.

    Attributes:
        etag: how often people have changed it; `number`: of its version.
        runs: nominal times that were launched since it was made.
        run: what this very request has launched.
    """

    next_us: int | None
    ended: bool
    backfills: tuple[SeenBackfill, ...] = ()
    etag: int = 0
    number: int = 1
    paused: bool = False
    runs: int = 0
    run: str = ""


class Op(Record, frozen=True, kw_only=True, tag="op"):
    """One operation of a client, all its repetitions included.

    Attributes:
        plan: what was answered about a schedule.
        backfill: its name; of a backfill, both ends of its range are `first_us` and `last_us`.
        stalls: those of its requests that were not answered for a second: when each began, and how
            long it took until its client was answered or waited no longer.
        requests: how many it took, the first one too.
        version: of an update: the name of the payload that it brings.
        etag: of a change: the revision that it is meant for; 0 = any.
        due_us: of a reschedule, or None: `delay_us` after the service has taken it.
        foreign: the task belongs to a namespace that is not the client's.
    """

    client: str
    call: Call
    inv_us: int
    ret_us: int = NEVER_US
    kind: Kind = Kind.INFO
    task: str = ""
    request: str = ""
    reason: str = ""
    wish: Wish | None = None
    rhythm: Rhythm | None = None
    seen: Seen | None = None
    version: str = ""
    etag: int = 0
    due_us: int | None = None
    delay_us: int = 0
    foreign: bool = False
    plan: SeenPlan | None = None
    backfill: str = ""
    first_us: int = 0
    last_us: int = 0
    stalls: tuple[tuple[int, int], ...] = ()
    requests: int = 1


class Start(Record, frozen=True, kw_only=True, tag="start"):
    """A handler began, as a sink outside saw it before anything else happened.

    Attributes:
        version: of its payload; empty = as the task was created.
        nominal_us: the schedule's own time for it, if a schedule made it.
    """

    task: str
    attempt: int
    epoch: int
    process: str
    at_us: int
    payload: str = ""
    version: str = ""
    nominal_us: int | None = None


class End(Record, frozen=True, kw_only=True, tag="end"):
    """A handler ended by itself.

    Attributes:
        final: it said that there should be no further attempt.
        wait_us: it named the delay to the next one.
    """

    task: str
    attempt: int
    process: str
    at_us: int
    ok: bool
    final: bool = False
    wait_us: int | None = None


class Left(Record, frozen=True, kw_only=True, tag="left"):
    """A handler was made to end; whatever it was at, it is over.

    `handed_back`: its executor was asked to leave, so the attempt may begin once more.
    """

    task: str
    attempt: int
    process: str
    at_us: int
    handed_back: bool = False


class Fault(Record, frozen=True, kw_only=True, tag="fault"):
    """Something that was broken on purpose.

    Attributes:
        gives_up: the cluster may give its scope up.
        kills: its scope is a process, which is over with all its handlers.
    """

    name: str
    scope: str
    at_us: int
    until_us: int
    gives_up: bool = False
    kills: bool = False


class Claim(Record, frozen=True, kw_only=True, tag="claim"):
    """A process published itself as the owner of a shard in an epoch."""

    shard: int
    epoch: int
    owner: str


class Sent(Record, frozen=True, kw_only=True, tag="sent"):
    """An order to run a task, seen on its way."""

    task: str
    shard: int
    epoch: int
    owner: str
    at_us: int = 0
    executor: str = ""


class Final(Record, frozen=True, kw_only=True, tag="final"):
    """The last read of a task, after heal and quiet; None = it could not be read."""

    task: str
    seen: Seen | None
    reason: str = ""


class Verdict(Record, frozen=True, kw_only=True, tag="verdict"):
    """What the ledger of a schedule says at last of one nominal time, or of several in a row.

    Attributes:
        number: of the version that has named it.
        late_us: when it was decided; `down_us`: how long of that nobody was there. None = not told.
        cause: in words; `fail-over` is a run that an owner has found.
    """

    schedule: str
    nominal_us: int
    verdict: str
    task: str = ""
    times: int = 1
    number: int = 1
    late_us: int | None = None
    down_us: int = 0
    cause: str = ""


class Edition(Record, frozen=True, kw_only=True, tag="edition"):
    """A version of a schedule as its list of versions has it: it names times after `after_us`."""

    schedule: str
    number: int
    after_us: int


class Away(Record, frozen=True, kw_only=True, tag="away"):
    """A time in which surely nobody was there to launch anything."""

    from_us: int
    until_us: int


class Listed(Record, frozen=True, kw_only=True, tag="listed"):
    """A task in a list that was read at last: of an owner, of a state, or of dead letters."""

    where: str
    task: str
    state: str
    owner: str = ""


class Followed(Record, frozen=True, kw_only=True, tag="followed"):
    """Somebody watched a task until its end was told, or until nobody could wait any longer."""

    task: str
    told: bool


class Residue(Record, frozen=True, kw_only=True, tag="residue"):
    """Something that should have been gone after the quiet."""

    what: str


class Spent(Record, frozen=True, kw_only=True, tag="spent"):
    """How often something was done that costs work, by its name, until the last reads."""

    what: str
    times: int


class Problem(Record, frozen=True, kw_only=True, tag="problem"):
    """What must never happen whatever the faults were, noted by whoever met it."""

    who: str
    what: str


class Terms(Record, frozen=True, kw_only=True, tag="terms"):
    """The bounds of a run.

    Attributes:
        calm: there was no fault, so nothing has an excuse.
        lists: all lists were read at last.
        unbound: nobody wished a shard anywhere.
        still: besides, nothing was moved or stopped: nothing costs more than it must.
        answer_us: each request is answered within this, whatever else was broken; None = there were
            faults that keep a request, its answer or whoever deals with it.
        early_us: how wrong clocks were, so how early a start may be.
        late_us: how late a start may be in a calm run; None = not judged.
        healed_us: when the last fault was over.
        recover_us: so long after that everything overdue has started; None = not judged.
        read_us: when the last reads began.
        forget_us: so long after its deletion a task that has ended may still be shown.
        kept_us: so long after its end a task is surely there; None = for ever.
        catch_up_per_s: so many starts that were missed long ago an owner makes up for in a second;
            0 = not judged.
        part_tasks: so many tasks are in a part of a bucket at most; 0 = not judged.
    """

    calm: bool
    still: bool = False
    lists: bool = False
    unbound: bool = False
    answer_us: int | None = None
    early_us: int = 0
    late_us: int | None = None
    healed_us: int = 0
    recover_us: int | None = None
    read_us: int = NEVER_US
    forget_us: int = 0
    kept_us: int | None = None
    catch_up_per_s: int = 0
    part_tasks: int = 0
