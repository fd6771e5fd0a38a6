-- One row for each interaction. Times are milliseconds since the Unix epoch.
CREATE TABLE throughline_interaction (
    tenant     TEXT    NOT NULL, -- '' is the tenant without a name
    id         TEXT    NOT NULL,
    state      INTEGER NOT NULL, -- 0 active, 1 ended, 2 handled, 3 expired
    channel    TEXT    NOT NULL,
    queue      TEXT,
    facts      TEXT    NOT NULL, -- JSON object, never user data
    record     TEXT    NOT NULL, -- JSON object of strings: the history
    live       BLOB,             -- sealed; NULL once the conversation is over
    events     BLOB    NOT NULL, -- digests of the events seen, 16 bytes each
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    PRIMARY KEY (tenant, id)
) STRICT;
