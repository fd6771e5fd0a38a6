UPDATE throughline_interaction AS i
SET events = ''
FROM UNNEST($1::text[], $2::text[]) AS due (tenant, id)
WHERE i.tenant = due.tenant AND i.id = due.id
