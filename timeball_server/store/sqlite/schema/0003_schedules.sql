-- What a verdict says besides: the version that named the time, and how its lateness is made up.
ALTER TABLE ledger ADD COLUMN version INTEGER;
ALTER TABLE ledger ADD COLUMN down_ms INTEGER;
ALTER TABLE ledger ADD COLUMN overlap_ms INTEGER;

-- Every specification that a schedule had.
CREATE TABLE schedule_versions (
    schedule_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    after_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    detail BLOB NOT NULL,
    PRIMARY KEY (schedule_id, version, epoch DESC)
) STRICT, WITHOUT ROWID;
