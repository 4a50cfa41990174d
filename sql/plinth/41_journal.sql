-- ---------------------------------------------------------------------
-- Room: account, the security journal
--
--		What must stand although the caller's transaction is rolled back: a
--		failed attempt, the end of a session.  A function of a module that
--		has to refuse does, as its last two statements,
--
--			PERFORM plinth.auth_journal('failure', account.id);
--			RAISE EXCEPTION ... USING ERRCODE = '28000';
--
--		The entry acts at once and is committed, in a transaction of the
--		upkeep worker, by the function that its kind names:
--
--			auth.commit_<kind>(user_id uuid, subject uuid, address inet,
--				source inet, user_agent text, happened_at timestamptz)
--
--		which runs as plinth_owner, may find that the user or the subject is
--		gone, and takes no lock that it can do without: it is given up after
--		20 ms at a lock and tried again.  Nothing is written about it in the
--		caller's own transaction, and every check of what the entry counts
--		adds plinth.auth_journal_pending() to what the table shows, which it
--		asks first and reads the table after.  A function that tries a secret
--		calls plinth.auth_journal_ready() before it looks at it.
--
-- Rights:	plinth_owner only
-- Tests:	test/regress/sql/journal.sql, test/tap/055_journal.pl
-- ---------------------------------------------------------------------
CREATE FUNCTION plinth.auth_journal(kind text, user_id uuid, subject uuid DEFAULT NULL) RETURNS boolean
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_journal';
COMMENT ON FUNCTION plinth.auth_journal(text, uuid, uuid) IS
'puts an event with the caller''s address and user agent into the security journal, where it stands whatever becomes of the transaction, and waits at most 1 s until the upkeep worker has committed it; kind = 1 to 24 letters a to z or _; user_id, subject = what auth.commit_<kind>() takes, or NULL; returns whether it is committed, else it will be; errors: 22023 another kind, 53000 the journal is full, 55000 library not preloaded';

CREATE FUNCTION plinth.auth_journal_ready() RETURNS void
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_journal_ready';
COMMENT ON FUNCTION plinth.auth_journal_ready() IS
'refuses an attempt, before it is looked at, when the security journal might have no room for its failure: errors 53000 less than a quarter of the entries is free, and fewer than there can be connections; 55000 library not preloaded';

CREATE FUNCTION plinth.auth_journal_pending(kind text DEFAULT NULL, subject uuid DEFAULT NULL) RETURNS integer
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_journal_pending';
COMMENT ON FUNCTION plinth.auth_journal_pending(text, uuid) IS
'number of entries of this database in the security journal, which no table shows yet; kind, subject = only those of the kind, about the subject; NULL = all; raises no error';

CREATE FUNCTION plinth.auth_source() RETURNS inet
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'plinth_sql_account_source';
COMMENT ON FUNCTION plinth.auth_source() IS
'what the caller''s address counts as: an IPv4 address, also where IPv6 carries it (RFC 4291 section 2.5.5.2), or the /64 of an IPv6 address; NULL when unknown; raises no error';

CREATE FUNCTION plinth.auth_lock_ends(user_id uuid) RETURNS timestamptz
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_lock_ends';
COMMENT ON FUNCTION plinth.auth_lock_ends(uuid) IS
'until when sign-ins from the caller''s source to an account have to wait (auth.lock_ends), NULL or past when they need not; by the tables as they are at this moment, whatever the snapshot of the transaction, and the security journal; user_id NULL = the addresses without an account; errors: 55000 library not preloaded';
