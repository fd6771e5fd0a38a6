-- Locks due rows and reads them once locked. Rows that a batch holds are left for the next round.
SELECT i.tenant, i.id, i.state, i.channel, i.queue, octet_length(i.events) > 0, i.record <> '{}',
       i.updated_ms, i.ended_ms
FROM UNNEST($1::text[], $2::text[]) AS due (tenant, id)
JOIN throughline_interaction AS i ON i.tenant = due.tenant AND i.id = due.id
ORDER BY i.tenant, i.id
FOR UPDATE OF i SKIP LOCKED
