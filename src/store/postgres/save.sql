-- Writes all rows of a batch, or none. A row that another worker has created meanwhile, or changed since
-- it was read in that version, is left out; then the number of rows is not the one it should be, and the
-- division by zero (SQLSTATE 22012) takes the others back, in a transaction as without one.
--
-- Updates go in the order of the keys, as the arrays do, and inserts after them: no two workers wait for
-- each other.
WITH change AS MATERIALIZED (
    SELECT *
    FROM UNNEST($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[],
                $7::text[], $8::bytea[], $9::bytea[], $10::bigint[], $11::bigint[], $12::bigint[],
                $13::text[])
         AS change (tenant, id, state, channel, queue, facts, record, live, events, created_ms,
                    updated_ms, ended_ms, version)
), updated AS (
    UPDATE throughline_interaction AS i
    SET state = change.state, channel = change.channel, queue = change.queue, facts = change.facts,
        record = change.record::jsonb, live = change.live, events = change.events,
        created_ms = change.created_ms, updated_ms = change.updated_ms, ended_ms = change.ended_ms
    FROM change
    WHERE change.version IS NOT NULL
      AND i.tenant = change.tenant AND i.id = change.id AND i.xmin = change.version::xid
    RETURNING 1
), inserted AS (
    INSERT INTO throughline_interaction (
        tenant, id, state, channel, queue, facts, record, live, events,
        created_ms, updated_ms, ended_ms)
    SELECT new.tenant, new.id, new.state, new.channel, new.queue, new.facts, new.record::jsonb,
           new.live, new.events, new.created_ms, new.updated_ms, new.ended_ms
    FROM change AS new
    WHERE new.version IS NULL
    ON CONFLICT (tenant, id) DO NOTHING
    RETURNING 1
), spilled AS (
    INSERT INTO throughline_spilled_event (tenant, id, generation, digest, seen_ms)
    SELECT * FROM UNNEST($14::text[], $15::text[], $16::bigint[], $17::bytea[], $18::bigint[])
    ON CONFLICT DO NOTHING
)
SELECT 1 / ((SELECT count(*) FROM updated) + (SELECT count(*) FROM inserted)
            = cardinality($1))::integer
