-- Locks the rows of a batch in the order of their keys (the sort is below the locking in the plan)
-- and reads them as they are once locked.
SELECT i.tenant, i.id, i.state, i.channel, i.queue, i.facts, i.record::text, i.live, i.events,
       i.created_ms, i.updated_ms, i.ended_ms
FROM UNNEST($1::text[], $2::text[]) AS wanted (tenant, id)
JOIN throughline_interaction AS i ON i.tenant = wanted.tenant AND i.id = wanted.id
ORDER BY i.tenant, i.id
FOR UPDATE OF i
