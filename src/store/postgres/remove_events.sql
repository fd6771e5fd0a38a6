-- Removes spilled events. What another worker is removing is left to it, so that no two wait for each other.
WITH due AS MATERIALIZED (
    SELECT e.tenant, e.id, e.generation, e.digest
    FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bytea[])
         AS wanted (tenant, id, generation, digest)
    JOIN throughline_spilled_event AS e
         ON e.tenant = wanted.tenant AND e.id = wanted.id
        AND e.generation = wanted.generation AND e.digest = wanted.digest
    FOR UPDATE OF e SKIP LOCKED
)
DELETE FROM throughline_spilled_event AS e
USING due
WHERE e.tenant = due.tenant AND e.id = due.id
  AND e.generation = due.generation AND e.digest = due.digest
