-- ---------------------------------------------------------------------
-- auth: one-time passwords, without accounts
--
-- RFC 4226, RFC 6238, RFC 4648
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never

-- RFC 6238 appendix B: the seed is repeated up to the length of the hash
SELECT seconds, hash, code, plinth.auth_totp_code(substr(repeat('1234567890', 7), 1,
	CASE hash WHEN 'sha1' THEN 20 WHEN 'sha256' THEN 32 ELSE 64 END)::bytea, to_timestamp(seconds), 8, hash) = code AS right
FROM (VALUES (59, 'sha1', '94287082'), (59, 'sha256', '46119246'), (59, 'sha512', '90693936'),
	(1111111109, 'sha1', '07081804'), (1111111109, 'sha256', '68084774'), (1111111109, 'sha512', '25091201'),
	(1111111111, 'sha1', '14050471'), (1111111111, 'sha256', '67062674'), (1111111111, 'sha512', '99943326'),
	(1234567890, 'sha1', '89005924'), (1234567890, 'sha256', '91819424'), (1234567890, 'sha512', '93441116'),
	(2000000000, 'sha1', '69279037'), (2000000000, 'sha256', '90698825'), (2000000000, 'sha512', '38618901'),
	(20000000000, 'sha1', '65353130'), (20000000000, 'sha256', '77737706'), (20000000000, 'sha512', '47863826'))
	AS v (seconds, hash, code);

-- RFC 4226 appendix D: counters 0 to 9
SELECT string_agg(plinth.auth_totp_code('12345678901234567890', to_timestamp(30 * n)), ' ' ORDER BY n)
	= '755224 287082 359152 969429 338314 254676 287922 162583 399871 520489' AS right
FROM generate_series(0, 9) AS n;

-- a code counts for its step and one around it, to the second; and not up to the last one used
SELECT at, last_used, plinth.auth_totp_step('12345678901234567890', '969429', to_timestamp(at), last_used) AS step
FROM (VALUES (59, NULL), (60, NULL), (90, NULL), (119, NULL), (149, NULL), (150, NULL), (100, 2), (100, 3), (100, 4)) AS v (at, last_used);
-- what is no code
SELECT plinth.auth_totp_step('12345678901234567890', code, to_timestamp(100), NULL) AS step
FROM unnest(ARRAY['969428', '96942', '9694290', '', '96942x', ' 969429', '٣٣٣', NULL]) AS code;
SELECT plinth.auth_totp_step(NULL, '969429', to_timestamp(100), NULL) AS no_secret,
	plinth.auth_totp_step('12345678901234567890', '969429', NULL, NULL) AS no_time;
-- at the very beginning there is no step before
SELECT plinth.auth_totp_step('12345678901234567890', '755224', to_timestamp(0), NULL) AS step;

-- out of range
SELECT plinth.auth_totp_code('x', to_timestamp(-1));
SELECT plinth.auth_totp_code('x', 'infinity');
SELECT plinth.auth_totp_code('x', '-infinity');
SELECT plinth.auth_totp_code('x', now(), 0);
SELECT plinth.auth_totp_code('x', now(), 10);
SELECT plinth.auth_totp_code('x', now(), 6, 'md5');
SELECT length(plinth.auth_totp_code('', 'epoch')) AS empty_secret, length(plinth.auth_totp_code(repeat('x', 1000)::bytea, 'epoch', 9)) AS long_secret,
	plinth.auth_totp_code(NULL, now()) AS nothing;

-- RFC 4648 section 10, without padding
SELECT bytes, plinth.auth_base32(bytes::bytea) FROM unnest(ARRAY['', 'f', 'fo', 'foo', 'foob', 'fooba', 'foobar']) AS bytes;
SELECT plinth.auth_base32('\xffffffffff00') AS high_bits, plinth.auth_base32(NULL) AS nothing;

-- random, and of the right form
SELECT octet_length(plinth.auth_totp_secret()) AS bytes, plinth.auth_totp_secret() <> plinth.auth_totp_secret() AS another,
	plinth.auth_recovery_code() ~ '^[A-Z2-7]{4}(-[A-Z2-7]{4}){3}$' AS form, plinth.auth_recovery_code() <> plinth.auth_recovery_code() AS another_code;
