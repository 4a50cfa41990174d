-- ---------------------------------------------------------------------
-- Room: row
--
--		What every row does by itself.
--
-- Tests:	test/regress/sql/row.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.touch_updated_at()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'plinth_sql_row_touch';

COMMENT ON FUNCTION plinth.touch_updated_at() IS
'sets updated_at of the new row to now(), whatever the statement says; BEFORE UPDATE, FOR EACH ROW, no arguments; errors: 39P01 used otherwise, 42703 no such column, 42804 the column is not timestamptz';

CREATE FUNCTION plinth.escape_like(pattern text)
RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_row_escape_like';

COMMENT ON FUNCTION plinth.escape_like(text) IS
'the text with a backslash before each \, % and _, so that LIKE and ILIKE take it literally; error: 54000 over half of the largest text';

