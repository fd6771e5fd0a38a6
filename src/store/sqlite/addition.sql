-- Events that the logs of long conversations have no room for. A generation is 1,024 of them, in the order in
-- which they were spilled: events written together stand together.
CREATE TABLE IF NOT EXISTS throughline_spilled_event (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    digest     BLOB    NOT NULL,
    seen_ms    INTEGER NOT NULL, -- milliseconds since the Unix epoch
    PRIMARY KEY (tenant, id, generation, digest)
) STRICT, WITHOUT ROWID
