-- A page of the walk over spilled events along the primary key, without locks.
SELECT e.tenant, e.id, e.generation, e.digest, e.seen_ms,
       (SELECT max(newer.generation) FROM throughline_spilled_event AS newer
        WHERE newer.tenant = e.tenant AND newer.id = e.id)
FROM throughline_spilled_event AS e
WHERE (e.tenant, e.id, e.generation, e.digest) > ($1, $2, $3, $4)
ORDER BY e.tenant, e.id, e.generation, e.digest
LIMIT $5
