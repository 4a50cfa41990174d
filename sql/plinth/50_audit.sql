-- ---------------------------------------------------------------------
-- Room: audit
--
--		The trigger functions behind audit.attach().
--
-- Tests:	test/regress/sql/audit*.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.audit_statement()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'plinth_sql_audit_statement';

COMMENT ON FUNCTION plinth.audit_statement() IS
'writes one audit record for each row that a statement has inserted, changed or deleted, and one for TRUNCATE; AFTER, FOR EACH STATEMENT, with the transition tables of the event; arguments: text[] of redacted columns, text[] of ignored columns; made by audit.attach(); errors: 39P01 used otherwise, 55000 module audit is not installed';

CREATE FUNCTION plinth.audit_row()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'plinth_sql_audit_row';

COMMENT ON FUNCTION plinth.audit_row() IS
'the same as plinth.audit_statement() for partitioned tables and tables in an inheritance tree; AFTER INSERT, UPDATE or DELETE, FOR EACH ROW; made by audit.attach(); errors: as plinth.audit_statement()';

