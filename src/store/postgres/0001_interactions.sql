-- One row for each interaction. Times are milliseconds since the Unix epoch.
--
-- Keys compare by their bytes, as they do in the program: the order in which rows are locked must
-- be the same for every worker, whatever the database's locale.
-- Fixed-width columns come first, so that no row has padding in its middle.
CREATE TABLE throughline_interaction (
    created_ms bigint   NOT NULL,
    updated_ms bigint   NOT NULL,
    ended_ms   bigint,
    state      smallint NOT NULL, -- 0 active, 1 ended, 2 handled, 3 expired
    tenant     text     COLLATE "C" NOT NULL, -- '' is the tenant without a name
    id         text     COLLATE "C" NOT NULL,
    channel    text     NOT NULL,
    queue      text,
    facts      text     NOT NULL, -- JSON object, never user data
    record     jsonb    NOT NULL, -- object of strings: the history
    events     bytea    NOT NULL, -- digests of the events seen, 16 bytes each
    live       bytea,             -- sealed; NULL once the conversation is over
    PRIMARY KEY (tenant, id)
) WITH (
    -- A row is written two or three times in its life. With room left on its page, and no index on
    -- what changes, an update touches no index (HOT).
    fillfactor = 70
);

-- Ciphertext and digests do not compress; trying costs time for each row.
ALTER TABLE throughline_interaction
    ALTER COLUMN live SET STORAGE EXTERNAL,
    ALTER COLUMN events SET STORAGE EXTERNAL;
