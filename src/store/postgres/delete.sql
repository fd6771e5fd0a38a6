DELETE FROM throughline_interaction AS i
USING UNNEST($1::text[], $2::text[]) AS due (tenant, id)
WHERE i.tenant = due.tenant AND i.id = due.id
