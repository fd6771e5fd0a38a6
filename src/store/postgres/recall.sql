-- Which of these events were spilled, by their whole keys in the newest generations.
-- OFFSET 0 keeps the planner from joining: a plan that was made while the table was small would read all
-- events of a long conversation at each batch, for as long as it is cached.
SELECT wanted.place
FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bytea[])
     AS wanted (place, tenant, id, newest, digest)
CROSS JOIN generate_series(0, $6::bigint) AS older (generations)
CROSS JOIN LATERAL (
    SELECT FROM throughline_spilled_event AS e
    WHERE e.tenant = wanted.tenant AND e.id = wanted.id
      AND e.generation = wanted.newest - older.generations AND e.digest = wanted.digest
    OFFSET 0
) AS spilled
