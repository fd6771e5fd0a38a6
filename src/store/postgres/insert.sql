-- A row that another worker has created meanwhile is left out; the number of rows tells.
INSERT INTO throughline_interaction (
    tenant, id, state, channel, queue, facts, record, live, events,
    created_ms, updated_ms, ended_ms)
SELECT new.tenant, new.id, new.state, new.channel, new.queue, new.facts, new.record::jsonb,
       new.live, new.events, new.created_ms, new.updated_ms, new.ended_ms
FROM UNNEST($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::bytea[], $9::bytea[], $10::bigint[], $11::bigint[], $12::bigint[])
     AS new (tenant, id, state, channel, queue, facts, record, live, events,
             created_ms, updated_ms, ended_ms)
ON CONFLICT (tenant, id) DO NOTHING
