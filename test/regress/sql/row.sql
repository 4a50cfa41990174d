--
-- ROW
-- What every row does by itself: the time of its last change, and a text
-- that LIKE takes literally.
--
-- Needs: setup
-- Leaves: nothing
--
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE SCHEMA regress_row;
SET search_path = regress_row, pg_catalog;

CREATE TABLE note (
	id integer PRIMARY KEY,
	body text,
	hits integer NOT NULL DEFAULT 0,
	updated_at timestamptz NOT NULL DEFAULT '2001-01-01 00:00+00'
);
CREATE TRIGGER touch BEFORE UPDATE OF body, updated_at ON note
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
INSERT INTO note (id, body) VALUES (1, 'a'), (2, 'b'), (3, 'c');

-- a change carries the time of its transaction
BEGIN;
UPDATE note SET body = 'aa' WHERE id = 1;
SELECT id, body, updated_at = now() AS touched FROM note ORDER BY id;
COMMIT;

-- what the statement says does not count
BEGIN;
UPDATE note SET updated_at = '2099-01-01 00:00+00' WHERE id = 2;
SELECT id, updated_at = now() AS touched FROM note WHERE id = 2;
ROLLBACK;

-- a change of other columns leaves the time alone
UPDATE note SET hits = hits + 1 WHERE id = 3;
SELECT hits, updated_at = '2001-01-01 00:00+00' AS untouched FROM note WHERE id = 3;

-- upsert, MERGE and a dropped column before it
ALTER TABLE note DROP COLUMN hits;
BEGIN;
INSERT INTO note (id, body) VALUES (3, 'cc') ON CONFLICT (id) DO UPDATE SET body = excluded.body;
MERGE INTO note USING (VALUES (2, 'bb')) AS v (id, body) ON note.id = v.id
	WHEN MATCHED THEN UPDATE SET body = v.body;
SELECT id, body FROM note WHERE updated_at = now() ORDER BY id;
COMMIT;

-- a partitioned table
CREATE TABLE part (id integer, updated_at timestamptz) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TRIGGER touch BEFORE UPDATE ON part
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
INSERT INTO part VALUES (1, NULL);
UPDATE part SET updated_at = NULL RETURNING updated_at = now() AS touched;

-- used wrongly: each says what is wrong
SELECT plinth.touch_updated_at();
CREATE TRIGGER wrong AFTER UPDATE ON note
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
UPDATE note SET body = 'x';
DROP TRIGGER wrong ON note;
CREATE TRIGGER wrong BEFORE UPDATE ON note
	FOR EACH STATEMENT EXECUTE FUNCTION plinth.touch_updated_at();
UPDATE note SET body = 'x';
DROP TRIGGER wrong ON note;
CREATE TRIGGER wrong BEFORE INSERT ON note
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
INSERT INTO note VALUES (4);
DROP TRIGGER wrong ON note;
CREATE TRIGGER wrong BEFORE UPDATE ON note
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at('changed_at');
UPDATE note SET body = 'x';
DROP TRIGGER wrong ON note;
CREATE TABLE bare (id integer);
CREATE TRIGGER wrong BEFORE UPDATE ON bare
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
INSERT INTO bare VALUES (1);
UPDATE bare SET id = 2;
ALTER TABLE bare ADD COLUMN updated_at timestamp;
UPDATE bare SET id = 2;
SELECT id, body FROM note ORDER BY id;

-- the three special characters, and nothing else
SELECT plinth.escape_like(t) FROM (VALUES
	('plain'), (''), ('100%'), ('a_b'), ('c:\dir'), ('\%_'), ('äöü%ß€'), (NULL)) AS v (t);

-- what it gives matches only itself, in any letter case
SELECT t, count(*) FILTER (WHERE u LIKE plinth.escape_like(t)) AS likes,
	   bool_and((u ILIKE '%' || plinth.escape_like(t) || '%')
				= (position(lower(t) IN lower(u)) > 0)) AS same_as_position
FROM (VALUES ('%'), ('_'), ('\'), ('a%'), ('A_'), ('a\'), ('aa')) AS v (t),
	 (VALUES ('%'), ('_'), ('\'), ('a%'), ('a_'), ('a\'), ('aa'), ('a%\_')) AS w (u)
GROUP BY t ORDER BY t COLLATE "C";

-- every byte and every planner's right: a constant is folded
SELECT length(plinth.escape_like(repeat('%', 100000)));
EXPLAIN (COSTS OFF, VERBOSE) SELECT plinth.escape_like('a_b');

-- who may call it
SELECT rolname, has_function_privilege(rolname, 'plinth.escape_like(text)', 'EXECUTE') AS escape_like,
	   has_function_privilege(rolname, 'plinth.touch_updated_at()', 'EXECUTE') AS touch_updated_at
FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'plinth_owner', 'plinth_gateway')
ORDER BY rolname COLLATE "C";

DROP SCHEMA regress_row CASCADE;
