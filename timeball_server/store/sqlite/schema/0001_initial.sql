-- The tables of docs/schema.md, with the same keys as in Cassandra.
-- WITHOUT ROWID: a table is its key's B-tree, so rows that are read together lie together.
-- STRICT: a value of the wrong type is refused when it is written, not found when it is read.
-- Instants are milliseconds since 1970, UTC. Rows are immutable unless a comment says otherwise.

-- Hints: this task wants attention at this millisecond. payload is kept for the future and not
-- written (docs/adr/0001-due-rows-carry-no-payload.md).
CREATE TABLE due (
    minute INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    part INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    handler TEXT NOT NULL,
    priority INTEGER NOT NULL,
    payload BLOB,
    PRIMARY KEY (minute, shard, part, due_ms, task_id, seq, epoch)
) STRICT, WITHOUT ROWID;

-- The truth. The first row of a task, in key order, is its head.
CREATE TABLE journal (
    minute INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    part INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    alarm_due_ms INTEGER,
    alarm_seq INTEGER,
    alarm_epoch INTEGER,
    attempt INTEGER NOT NULL,
    run_seq INTEGER,
    run_epoch INTEGER,
    executor TEXT,
    incarnation INTEGER NOT NULL,
    prev_epoch INTEGER NOT NULL,
    spec_seq INTEGER NOT NULL,
    spec_epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    unaccounted TEXT,
    request_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    detail BLOB,
    PRIMARY KEY (minute, shard, part, task_id, epoch DESC, seq DESC)
) STRICT, WITHOUT ROWID;

-- The fenced row of a shard: changed by conditional writes only.
CREATE TABLE shards (
    shard INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    scan_from INTEGER NOT NULL,
    deleted_below INTEGER NOT NULL,
    PRIMARY KEY (shard)
) STRICT, WITHOUT ROWID;

-- Plain copy for readers. Within an epoch its owner may write again with a later at_ms.
CREATE TABLE owners (
    shard INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner TEXT NOT NULL,
    address TEXT NOT NULL,
    scan_from INTEGER NOT NULL,
    deleted_below INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (shard, epoch DESC)
) STRICT, WITHOUT ROWID;

-- From this minute on, new ids name one of so many shards.
CREATE TABLE layout (
    cluster TEXT NOT NULL,
    from_minute INTEGER NOT NULL,
    shard_count INTEGER NOT NULL,
    PRIMARY KEY (cluster, from_minute)
) STRICT, WITHOUT ROWID;

-- The latest progress of a task; overwritten.
CREATE TABLE checkpoints (
    task_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    progress BLOB,
    checkpoint BLOB,
    PRIMARY KEY (task_id)
) STRICT, WITHOUT ROWID;

-- A schedule's current specification; one row per epoch, overwritten by that epoch's owner.
CREATE TABLE schedules (
    schedule_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    next_ms INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    spec BLOB NOT NULL,
    PRIMARY KEY (schedule_id, epoch DESC)
) STRICT, WITHOUT ROWID;

-- Verdicts on nominal times. Consecutive equal ones that launched nothing may be one row:
-- last_nominal_ms and times are NULL for a single one.
CREATE TABLE ledger (
    schedule_id TEXT NOT NULL,
    month INTEGER NOT NULL,
    nominal_ms INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    task_id TEXT,
    cause TEXT NOT NULL,
    lateness_ms INTEGER NOT NULL,
    last_nominal_ms INTEGER,
    times INTEGER,
    PRIMARY KEY (schedule_id, month, nominal_ms, epoch DESC)
) STRICT, WITHOUT ROWID;

-- A user's tasks of a day. No state: it is read from the journal.
CREATE TABLE tasks_by_owner (
    namespace TEXT NOT NULL,
    owner TEXT NOT NULL,
    day INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    handler TEXT NOT NULL,
    PRIMARY KEY (namespace, owner, day, created_ms DESC, task_id, epoch DESC)
) STRICT, WITHOUT ROWID;

-- Hints that tasks entered a state; verified on read. slice spreads a busy day.
CREATE TABLE tasks_by_state (
    namespace TEXT NOT NULL,
    state TEXT NOT NULL,
    day INTEGER NOT NULL,
    slice INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (namespace, state, day, slice, at_ms DESC, task_id, epoch DESC)
) STRICT, WITHOUT ROWID;

-- Tasks that people must look at.
CREATE TABLE dead_letters (
    namespace TEXT NOT NULL,
    day INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    handler TEXT NOT NULL,
    cause TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (namespace, day, at_ms DESC, task_id, epoch DESC)
) STRICT, WITHOUT ROWID;

-- Whom to notify and how; changed by administrators.
CREATE TABLE users (
    namespace TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    channels TEXT,
    enabled INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (namespace, user_id)
) STRICT, WITHOUT ROWID;

-- Names that callers chose; conditional insert.
CREATE TABLE names (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- The task that a request id made, for callers whose retry may name another minute;
-- conditional insert.
CREATE TABLE requests (
    namespace TEXT NOT NULL,
    request_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (namespace, request_id)
) STRICT, WITHOUT ROWID;

-- Scripts, payloads and results above the inline limit, by the hash of their content.
CREATE TABLE blobs (
    sha256 BLOB NOT NULL,
    chunk INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (sha256, chunk)
) STRICT, WITHOUT ROWID;

-- Captured output of attempts.
CREATE TABLE logs (
    task_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    level TEXT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (task_id, attempt, seq)
) STRICT, WITHOUT ROWID;

-- Who did what, and system events.
CREATE TABLE audit (
    namespace TEXT NOT NULL,
    day INTEGER NOT NULL,
    slice INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    id TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail BLOB,
    PRIMARY KEY (namespace, day, slice, at_ms, id)
) STRICT, WITHOUT ROWID;

-- Counts and lateness of one minute of one shard, for the console. started includes retried.
CREATE TABLE rollups (
    namespace TEXT NOT NULL,
    hour INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created INTEGER NOT NULL,
    started INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    retried INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    lateness_sum_ms INTEGER NOT NULL,
    lateness_max_ms INTEGER NOT NULL,
    lateness_histogram BLOB,
    PRIMARY KEY (namespace, hour, minute, shard, epoch DESC)
) STRICT, WITHOUT ROWID;
