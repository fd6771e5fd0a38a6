-- Events that the logs of long conversations have no room for. A generation is 1,024 of them, in the order in
-- which they were spilled: events written together stand together.
CREATE TABLE IF NOT EXISTS throughline_spilled_event (
    generation bigint NOT NULL,
    seen_ms    bigint NOT NULL, -- milliseconds since the Unix epoch
    tenant     text   COLLATE "C" NOT NULL,
    id         text   COLLATE "C" NOT NULL,
    digest     bytea  NOT NULL,
    PRIMARY KEY (tenant, id, generation, digest)
)
