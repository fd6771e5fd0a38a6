-- Reads the rows of a batch and their versions, without locks.
SELECT i.tenant, i.id, i.state, i.channel, i.queue, i.facts, i.record::text, i.live, i.events,
       i.created_ms, i.updated_ms, i.ended_ms, i.xmin::text
FROM UNNEST($1::text[], $2::text[]) AS wanted (tenant, id)
JOIN throughline_interaction AS i ON i.tenant = wanted.tenant AND i.id = wanted.id
