-- ---------------------------------------------------------------------
-- social: asking for a certificate, deciding, issuing, verifying
--
-- Needs:	setup
-- Leaves:	nothing but records in the audit trail
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;

INSERT INTO auth.users (id, email, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'ann@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000c1', 'tess@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000ad', 'root@example.com', 'admin');
INSERT INTO profiles.profiles (id, username, full_name, user_type) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'ann', 'Ann Example', 'student'),
	('00000000-0000-4000-8000-0000000000c1', 'tess', NULL, 'teacher');
INSERT INTO social.skills (id, name, is_active) VALUES
	('00000000-0000-4000-8000-000000000051', 'SQL', true),
	('00000000-0000-4000-8000-000000000052', 'C', true),
	('00000000-0000-4000-8000-000000000053', 'COBOL', false);

\set ann '{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated"}'
\set tess '{"sub": "00000000-0000-4000-8000-0000000000c1", "role": "authenticated"}'
\set root '{"sub": "00000000-0000-4000-8000-0000000000ad", "role": "authenticated"}'

-- a request is pending and one's own, whatever else it says
SET request.jwt.claims = :'ann';
SET ROLE authenticated;
SELECT user_id, skill_id, requested_level, evidence_type, evidence_urls, description, status, reviewed_by, reviewed_at
FROM social.request_certification('00000000-0000-4000-8000-000000000051', 'expert', 'portfolio', '{https://example.com/ann}', 'ten years of it');
-- one open request for a skill and level
SELECT social.request_certification('00000000-0000-4000-8000-000000000051', 'expert', 'portfolio');
SELECT status FROM social.request_certification('00000000-0000-4000-8000-000000000051', 'advanced', 'portfolio', NULL);
-- what is missing or wrong; a skill that is not active is none
SELECT social.request_certification(NULL, 'expert', 'portfolio');
SELECT social.request_certification('00000000-0000-4000-8000-000000000051', 'expert', '  ');
SELECT social.request_certification('00000000-0000-4000-8000-000000000051', 'guru', 'portfolio');
SELECT social.request_certification('00000000-0000-4000-8000-000000000051', NULL, 'portfolio');
SELECT social.request_certification('00000000-0000-4000-8000-000000000053', 'expert', 'portfolio');
RESET request.jwt.claims;
SELECT social.request_certification('00000000-0000-4000-8000-000000000051', 'expert', 'portfolio');
SELECT social.review_certification('00000000-0000-4000-8000-000000000051', 'approved');

-- requests by fixed ids for what follows
RESET ROLE;
UPDATE social.certification_requests SET id = '00000000-0000-4000-8000-0000000000e1' WHERE requested_level = 'expert';
UPDATE social.certification_requests SET id = '00000000-0000-4000-8000-0000000000e2' WHERE requested_level = 'advanced';
INSERT INTO social.certification_requests (id, user_id, skill_id, requested_level, evidence_type) VALUES
	('00000000-0000-4000-8000-0000000000e3', '00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-000000000052', 'beginner', 'link'),
	('00000000-0000-4000-8000-0000000000e4', '00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000052', 'beginner', 'link');

-- reviewers see requests (fault 24), and decide them unless they are their own
SET request.jwt.claims = :'tess';
SET ROLE authenticated;
SELECT count(*) FROM social.certification_requests;
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e3', 'approved');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e1', 'maybe');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e1', NULL);
SELECT social.review_certification('00000000-0000-4000-8000-00000000dead', 'approved');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e1', 'approved', NULL, '2001-01-01');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e1', 'rejected', NULL, 'infinity');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e1', 'under_review', 'looks good') IS NULL AS no_certificate;
SELECT status, reviewed_by, reviewed_at = updated_at AS touched, review_notes
FROM social.certification_requests WHERE id = '00000000-0000-4000-8000-0000000000e1';

-- approved: number, certificate and verified skill in one (fault 24)
SELECT request_id, user_id, skill_id, level, certificate_number ~ '^EVOLV-[0-9A-F]{12}$' AS number,
	   verification_url = '/verify/' || certificate_number AS url, issued_at = now() AS issued, expires_at,
	   verified_by, evidence, signed_body IS NOT NULL AS signed, is_revoked
FROM social.review_certification('00000000-0000-4000-8000-0000000000e1', 'approved');
SELECT status, review_notes FROM social.certification_requests WHERE id = '00000000-0000-4000-8000-0000000000e1';
SELECT user_id, skill_id, proficiency_level, verified, verified_by, verified_at IS NOT NULL AS since FROM social.user_skills;
-- decided once
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e1', 'rejected');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e2', 'rejected', 'not yet') IS NULL AS no_certificate;
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e2', 'approved');
-- an admin reviews the teacher's own, with an end, under the setting's address
RESET ROLE;
INSERT INTO plinth.settings (name, value) VALUES ('social.verification_base_url', '"https://example.com/c/"');
SET request.jwt.claims = :'root';
SET ROLE authenticated;
SELECT level, verification_url ~ '^https://example.com/c/EVOLV-' AS url, expires_at
FROM social.review_certification('00000000-0000-4000-8000-0000000000e3', 'approved', NULL, '2999-01-01 00:00+00');

-- every code
\set VERBOSITY sqlstate
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e3', 'rejected');
SELECT social.review_certification('00000000-0000-4000-8000-00000000dead', 'approved');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e4', 'maybe');
SET request.jwt.claims = :'ann';
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e4', 'approved');
SELECT social.request_certification('00000000-0000-4000-8000-000000000052', 'beginner', 'link');
SELECT social.request_certification('00000000-0000-4000-8000-000000000053', 'beginner', 'link');
SELECT social.request_certification('00000000-0000-4000-8000-000000000052', 'guru', 'link');
RESET request.jwt.claims;
SELECT social.request_certification('00000000-0000-4000-8000-000000000052', 'beginner', 'link');
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e4', 'approved');
\set VERBOSITY default
RESET ROLE;
DELETE FROM plinth.settings WHERE name = 'social.verification_base_url';

-- a level that one claims after the certificate is not verified
SET request.jwt.claims = :'tess';
SET ROLE authenticated;
UPDATE social.user_skills SET proficiency_level = 'beginner' RETURNING proficiency_level, verified;
UPDATE social.user_skills SET proficiency_level = 'expert' RETURNING proficiency_level, verified, verified_by, verified_at;
RESET ROLE;
RESET request.jwt.claims;

-- what is printed on a certificate is final, for every role; the rest is not
SET ROLE service_role;
\set VERBOSITY sqlstate
UPDATE social.certifications SET certificate_number = 'EVOLV-000000000000' WHERE level = 'expert';
\set VERBOSITY default
RESET ROLE;
DO $$
DECLARE
	change	text;
BEGIN
	FOREACH change IN ARRAY ARRAY['id = gen_random_uuid()', 'certificate_number = ''EVOLV-000000000000''',
			'user_id = ''00000000-0000-4000-8000-0000000000c1''', 'skill_id = ''00000000-0000-4000-8000-000000000052''',
			'level = ''beginner''', 'issued_at = ''2001-01-01''', 'signed_body = NULL',
			'signed_body = plinth.certificate_sign(''{}'')'] LOOP
		BEGIN
			EXECUTE 'UPDATE social.certifications SET ' || change || ' WHERE level = ''expert''';
			RAISE WARNING 'changed: %', change;
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			NULL;
		END;
	END LOOP;
END
$$;
\set VERBOSITY terse
UPDATE social.certifications SET is_revoked = true;
\set VERBOSITY default
UPDATE social.certifications SET evidence = '["seen"]', issued_at = issued_at, level = level WHERE level = 'expert' RETURNING evidence;
-- releases differ in how they say it
DO $$
BEGIN
	DELETE FROM social.skills WHERE name = 'SQL';
	RAISE NOTICE 'a skill with certificates was deleted';
EXCEPTION WHEN restrict_violation OR foreign_key_violation THEN
	RAISE NOTICE 'a skill with certificates stays';
END;
$$;

-- what is printed is signed, and says what the row says; times do not depend
-- on who issues where
SELECT c.level, printed.body - 'number' - 'issued_at' AS printed,
	   printed.body ->> 'number' = c.certificate_number AS number,
	   (printed.body ->> 'issued_at')::timestamptz = c.issued_at AS issued_at,
	   printed.body ->> 'issued_at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$' AS form
FROM social.certifications AS c, LATERAL (SELECT plinth.certificate_verify(c.signed_body) AS body) AS printed
ORDER BY c.level;
-- the holder reads it, and anybody who gets it from them can check it
SET request.jwt.claims = :'ann';
SET ROLE authenticated;
SELECT plinth.certificate_verify(signed_body) ->> 'skill' AS skill FROM social.certifications;
RESET ROLE;
RESET request.jwt.claims;
-- an issuer has a name where the server has one; an end that never comes is none
BEGIN;
SET LOCAL plinth.jwt_issuer = 'https://example.com';
SET LOCAL TimeZone = 'Asia/Kolkata';
SELECT printed.body -> 'issuer' AS issuer, printed.body -> 'expires_at' AS expires_at, c.expires_at AS until,
	   (printed.body ->> 'issued_at')::timestamptz = now() AS issued_at
FROM social.certification_requests AS r,
	social.issue_certificate(r, NULL, 'infinity') AS c, plinth.certificate_verify(c.signed_body) AS printed (body)
WHERE r.id = '00000000-0000-4000-8000-0000000000e4';
ROLLBACK;

-- numbers are unique and of one form, whoever writes them
\set VERBOSITY terse
INSERT INTO social.certifications (user_id, skill_id, level, certificate_number, verification_url)
SELECT user_id, skill_id, level, certificate_number, '' FROM social.certifications LIMIT 1;
INSERT INTO social.certifications (user_id, skill_id, level, certificate_number, verification_url)
SELECT user_id, skill_id, level, 'EVOLV-00000000000G', '' FROM social.certifications LIMIT 1;
\set VERBOSITY default

-- a number that is taken: another one is tried, five times and no more
BEGIN;
CREATE TEMPORARY SEQUENCE draw;
GRANT USAGE ON draw TO plinth_owner;
CREATE OR REPLACE FUNCTION plinth.generate_certificate_number() RETURNS text LANGUAGE sql VOLATILE
	AS $$ SELECT 'EVOLV-' || lpad(upper(to_hex(nextval('draw') / 5)), 12, '0') $$;
INSERT INTO social.certifications (user_id, skill_id, level, verification_url)
SELECT '00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000052', 'beginner', ''
RETURNING certificate_number;
SET LOCAL request.jwt.claims = :'tess';
SET LOCAL ROLE authenticated;
SELECT certificate_number FROM social.review_certification('00000000-0000-4000-8000-0000000000e4', 'approved');
RESET ROLE;
SELECT currval('draw') AS draws;
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION plinth.generate_certificate_number() RETURNS text LANGUAGE sql VOLATILE
	AS $$ SELECT 'EVOLV-000000000000' $$;
INSERT INTO social.certifications (user_id, skill_id, level, verification_url)
SELECT '00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000052', 'beginner', ''
RETURNING certificate_number;
SET LOCAL request.jwt.claims = :'tess';
SET LOCAL ROLE authenticated;
SELECT social.review_certification('00000000-0000-4000-8000-0000000000e4', 'approved');
ROLLBACK;
SELECT plinth.generate_certificate_number() <> 'EVOLV-000000000000' AS random_again;

-- anybody who has the number may verify it; nothing else can be had with it (fault 23)
CREATE TEMPORARY TABLE issued AS SELECT certificate_number AS number, level FROM social.certifications;
GRANT SELECT ON issued TO anon;
UPDATE plinth.rate_limit_tiers SET requests = 1000 WHERE name = 'anonymous';
SET ROLE anon;
SELECT level, social.verify_certificate(number) - 'issued_at' AS answer FROM issued ORDER BY level;
SELECT social.verify_certificate('  ' || lower(number) || ' ') ->> 'status' AS as_typed FROM issued WHERE level = 'expert';
SELECT social.verify_certificate('EVOLV-FFFFFFFFFFFF');
SELECT social.verify_certificate(''), social.verify_certificate(NULL) ->> 'status' AS nothing;
RESET ROLE;
-- expired (fault 26), and revoked, which counts more
UPDATE social.certifications SET expires_at = now() WHERE level = 'expert';
SELECT social.verify_certificate(number) -> 'valid' AS valid, social.verify_certificate(number) ->> 'status' AS status FROM issued WHERE level = 'expert';
UPDATE social.certifications SET is_revoked = true, revoked_at = now(), revocation_reason = 'test' WHERE level = 'expert';
SELECT social.verify_certificate(number) -> 'valid' AS valid, social.verify_certificate(number) ->> 'status' AS status,
	   social.verify_certificate(number) ->> 'revoked_at' IS NOT NULL AS revoked FROM issued WHERE level = 'expert';
-- names are those that were printed, whatever they are by now
BEGIN;
UPDATE profiles.profiles SET full_name = 'Somebody Else' WHERE id = '00000000-0000-4000-8000-0000000000a1';
UPDATE social.skills SET name = 'Something Else' WHERE name = 'SQL';
SELECT social.verify_certificate(number) ->> 'holder_name' AS holder, social.verify_certificate(number) ->> 'skill' AS skill
FROM issued WHERE level = 'expert';
DELETE FROM profiles.profiles WHERE id = '00000000-0000-4000-8000-0000000000a1';
SELECT social.verify_certificate(number) ->> 'holder_name' AS holder FROM issued WHERE level = 'expert';
ROLLBACK;
-- where nothing was signed, they are those of now; a holder without a profile has none
INSERT INTO social.certifications (user_id, skill_id, level, certificate_number, verification_url) VALUES
	('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000052', 'beginner', 'EVOLV-0000000000AB', '');
SELECT answer ->> 'holder_name' AS holder, answer ->> 'skill' AS skill, answer ->> 'status' AS status
FROM social.verify_certificate('EVOLV-0000000000AB') AS answer;
DELETE FROM profiles.profiles WHERE id = '00000000-0000-4000-8000-0000000000a1';
SELECT social.verify_certificate('EVOLV-0000000000AB') -> 'holder_name' AS holder;

-- numbers cannot be tried out: a caller has so many calls, of whichever result
UPDATE plinth.rate_limit_tiers SET requests = 3, window_seconds = 864000 WHERE name = 'authenticated';
SET request.jwt.claims = :'tess';
SET ROLE authenticated;
SELECT social.verify_certificate('EVOLV-0000000000AB') ->> 'status' AS one, social.verify_certificate('EVOLV-000000000001') ->> 'status' AS two,
	   social.verify_certificate(NULL) ->> 'status' AS three;
\set VERBOSITY sqlstate
SELECT social.verify_certificate('EVOLV-0000000000AB');
\set VERBOSITY default
-- another caller has a count of their own
SET request.jwt.claims = :'root';
SELECT social.verify_certificate('EVOLV-0000000000AB') ->> 'status' AS status;
RESET ROLE;
RESET request.jwt.claims;
UPDATE plinth.rate_limit_tiers SET requests = 60, window_seconds = 60 WHERE name = 'authenticated';
UPDATE plinth.rate_limit_tiers SET requests = 10 WHERE name = 'anonymous';
SELECT count(plinth.rate_limit_reset(identifier, endpoint)) > 0 AS forgotten FROM plinth.rate_limits WHERE endpoint LIKE '%verify_certificate';

-- the join with audit: who asked and who decided is in the trail
SELECT DISTINCT t.tgrelid::regclass AS audited FROM pg_trigger t
WHERE t.tgname LIKE 'plinth_audit%' AND t.tgrelid::regclass::text LIKE 'social.%' ORDER BY 1;

-- a user who leaves takes the certificates along, and the skill can go then
DELETE FROM auth.users WHERE id::text LIKE '00000000-0000-4000-8000-0000000000__';
SELECT count(*) FROM social.certifications;
DELETE FROM social.skills;
DROP TABLE issued;
