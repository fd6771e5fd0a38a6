-- The rows are locked. An interaction counts as ended from the end of its lifetime, not from
-- the sweep that finds it.
UPDATE throughline_interaction AS i
SET state = $3, live = NULL, ended_ms = coalesce(i.ended_ms, i.updated_ms + $4)
FROM UNNEST($1::text[], $2::text[]) AS due (tenant, id)
WHERE i.tenant = due.tenant AND i.id = due.id
