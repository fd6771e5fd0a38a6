-- The rows are locked already, so their order is of no consequence here.
UPDATE throughline_interaction AS i
SET state = change.state, channel = change.channel, queue = change.queue, facts = change.facts,
    record = change.record::jsonb, live = change.live, events = change.events,
    created_ms = change.created_ms, updated_ms = change.updated_ms, ended_ms = change.ended_ms
FROM UNNEST($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::bytea[], $9::bytea[], $10::bigint[], $11::bigint[], $12::bigint[])
     AS change (tenant, id, state, channel, queue, facts, record, live, events,
                created_ms, updated_ms, ended_ms)
WHERE i.tenant = change.tenant AND i.id = change.id
