-- What namespaces allow of their keys, handlers and themselves; a limit that was taken back is not
-- enabled.
CREATE TABLE limits (
    cluster TEXT NOT NULL,
    name TEXT NOT NULL,
    namespace TEXT NOT NULL,
    kind TEXT NOT NULL,
    pattern TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    starts INTEGER NOT NULL,
    per_ms INTEGER NOT NULL,
    burst INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (cluster, name)
) STRICT, WITHOUT ROWID;
