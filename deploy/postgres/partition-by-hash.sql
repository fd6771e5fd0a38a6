-- Cuts the table of interactions into sixteen partitions, by hash of tenant and id, with all its rows.
--
--   psql "$DATABASE_URL" --set ON_ERROR_STOP=1 --file deploy/postgres/partition-by-hash.sql
--
-- For tables that will hold hundreds of millions of rows: each partition is vacuumed by itself, several
-- at once, and its index is a sixteenth. The worker looks rows up by tenant and id, so each look goes to
-- one partition, and none of its statements changes. docs/performance.md#at-a-billion-rows says when it
-- pays.
--
-- Before: stop all workers, and run as the table's owner. The rows are copied, which takes as much room
-- again, and ten seconds a million on two cores; right after `throughline migrate` there are none.
-- Afterwards: give again what privileges other roles had on the table, and start the workers.
--
-- It is all or nothing. Cutting again into more partitions is the same with another number.
BEGIN;

LOCK TABLE throughline_interaction IN ACCESS EXCLUSIVE MODE;
ALTER TABLE throughline_interaction RENAME TO throughline_interaction_uncut;
ALTER TABLE throughline_interaction_uncut
    RENAME CONSTRAINT throughline_interaction_pkey TO throughline_interaction_uncut_pkey;

CREATE TABLE throughline_interaction (
    LIKE throughline_interaction_uncut INCLUDING STORAGE,
    PRIMARY KEY (tenant, id)
) PARTITION BY HASH (tenant, id);

DO $$
DECLARE
    partitions CONSTANT integer := 16;
BEGIN
    FOR n IN 0 .. partitions - 1 LOOP
        EXECUTE format(
            'CREATE TABLE throughline_interaction_%s_of_%s PARTITION OF throughline_interaction '
            'FOR VALUES WITH (MODULUS %s, REMAINDER %s) WITH (fillfactor = 70)',
            n, partitions, partitions, n);
    END LOOP;
END
$$;

INSERT INTO throughline_interaction SELECT * FROM throughline_interaction_uncut;
DROP TABLE throughline_interaction_uncut;

-- No ANALYZE: of an empty table the planner would learn that reading all partitions costs nothing.
-- Autovacuum analyzes each once it has rows, and until then the planner assumes that there are some.
COMMIT;
