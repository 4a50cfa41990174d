--
-- AUDIT_SEALS
-- Who may verify and read seals and marks, and that nobody changes them.
-- What verification finds is in test/tap/080_audit_seals.pl.
--
-- Needs: setup
-- Leaves: nothing
--
SET client_min_messages = warning;
\set VERBOSITY sqlstate
INSERT INTO auth.users (id, email, app_role) VALUES
	('00000000-0000-4000-8000-0000000000e1', 'una@seals.test', 'user'),
	('00000000-0000-4000-8000-0000000000e2', 'alma@seals.test', 'admin');

-- visitors and users may not, and see no rows
SET ROLE anon;
SELECT * FROM audit.verify(NULL, NULL);
SELECT audit.head();
SELECT audit.proof('00000000-0000-7000-8000-000000000001');
SELECT count(*) FROM audit.seals;
SELECT count(*) FROM audit.marks;
RESET ROLE;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000e1","role":"authenticated"}';
SET ROLE authenticated;
SELECT * FROM audit.verify(NULL, NULL);
SELECT audit.head();
SELECT audit.proof('00000000-0000-7000-8000-000000000001');
SELECT count(*) FROM audit.seals;
SELECT count(*) FROM audit.marks;
-- nor call the C behind it
SELECT * FROM plinth.audit_verify(NULL, NULL);
SELECT plinth.audit_head();
SELECT plinth.audit_proof('00000000-0000-7000-8000-000000000001');
RESET ROLE;

-- administrators and the service may; what is not there has no proof
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000e2","role":"authenticated"}';
SET ROLE authenticated;
SELECT count(*) FROM audit.verify('infinity', NULL);
SELECT audit.proof('00000000-0000-7000-8000-000000000001');
RESET ROLE;
RESET request.jwt.claims;
SET ROLE service_role;
SELECT count(*) FROM audit.verify('infinity', '-infinity');
SELECT jsonb_typeof(coalesce(audit.head(), '{}'));
SELECT audit.proof('00000000-0000-7000-8000-000000000001');
SELECT audit.proof('00000000-0000-0000-0000-000000000000'), audit.proof('ffffffff-ffff-ffff-ffff-ffffffffffff');
SELECT audit.proof('ffffffff-ffff-ffff-ffff-ffffffffffff');
-- a head must be one
SELECT * FROM audit.verify('infinity', NULL, '{"seal_id": 1}');
SELECT * FROM audit.verify('infinity', NULL, '{"seal_id": -1, "hash": "", "signature": ""}');
SELECT status FROM audit.verify('infinity', NULL, '{"seal_id": 999999999999999999, "hash": "", "signature": ""}');

-- nobody writes: the service
INSERT INTO audit.marks (kind) VALUES ('purge');
UPDATE audit.seals SET rows = 0;
DELETE FROM audit.marks;
TRUNCATE audit.seals;
RESET ROLE;
-- the owner
SET ROLE plinth_owner;
UPDATE audit.seals SET rows = 0;
DELETE FROM audit.seals;
TRUNCATE audit.seals;
UPDATE audit.marks SET kind = 'ddl';
DELETE FROM audit.marks;
TRUNCATE audit.marks;
RESET ROLE;
-- a superuser, where ordinary triggers do not fire
SET session_replication_role = replica;
UPDATE audit.seals SET rows = 0;
DELETE FROM audit.marks;
TRUNCATE audit.marks;
RESET session_replication_role;

DELETE FROM auth.users WHERE email LIKE '%@seals.test';
