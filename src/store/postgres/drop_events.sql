-- The rows are locked. The spilled events of their logs are deleted with them.
DELETE FROM throughline_spilled_event AS e
USING UNNEST($1::text[], $2::text[]) AS due (tenant, id)
WHERE e.tenant = due.tenant AND e.id = due.id
