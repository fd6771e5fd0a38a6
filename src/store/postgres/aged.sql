-- A page of the walk along the primary key, without locks. Sizes and NULLs are read without fetching
-- values stored out of line.
SELECT i.tenant, i.id, i.state, i.channel, i.queue, octet_length(i.events) > 0, i.record <> '{}',
       i.updated_ms, i.ended_ms
FROM throughline_interaction AS i
WHERE (i.tenant, i.id) > ($1, $2)
ORDER BY i.tenant, i.id
LIMIT $3
