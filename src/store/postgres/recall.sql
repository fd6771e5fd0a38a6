-- Which of these events were spilled, by their whole keys in the newest generations.
SELECT wanted.place
FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])
     AS wanted (place, tenant, id, newest, digest)
CROSS JOIN generate_series(0, $6::bigint) AS older (generations)
JOIN throughline_spilled_event AS e
     ON e.tenant = wanted.tenant AND e.id = wanted.id
    AND e.generation = wanted.newest - older.generations AND e.digest = wanted.digest
