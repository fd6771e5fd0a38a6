-- The rows are locked. What was spilled of their logs goes with them.
DELETE FROM throughline_spilled_event AS e
USING UNNEST($1::text[], $2::text[]) AS due (tenant, id)
WHERE e.tenant = due.tenant AND e.id = due.id
