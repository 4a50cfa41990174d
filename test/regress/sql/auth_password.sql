-- ---------------------------------------------------------------------
-- The account room: passwords and tokens
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never

-- the least cost, so that the test is quick
SET plinth.password_memory = '19MB';

-- a hash is an argon2id string with its parameters, and never the same twice
SELECT plinth.auth_password_hash('correct horse') AS hash \gset
SELECT :'hash' ~ '^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$' AS form,
	:'hash' <> plinth.auth_password_hash('correct horse') AS salted;
SELECT password, plinth.auth_password_verify(password, :'hash')
FROM unnest(ARRAY['correct horse', 'Correct horse', 'correct horse ', 'correct hors', '', NULL]) AS p (password);

-- all of a password counts, up to 1024 bytes, and beyond nothing matches
SELECT plinth.auth_password_hash(repeat('x', 1024)) AS long_hash \gset
SELECT plinth.auth_password_verify(repeat('x', 1024), :'long_hash') AS whole,
	plinth.auth_password_verify(repeat('x', 1023), :'long_hash') AS less,
	plinth.auth_password_verify(repeat('x', 1023) || 'y', :'long_hash') AS other,
	plinth.auth_password_verify(repeat('x', 1025), :'long_hash') AS more;
SELECT plinth.auth_password_hash(repeat('x', 1025));

-- the string made elsewhere: the reference implementation's own example values
SELECT plinth.auth_password_verify('password',
	'$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc') AS reference;

-- what is no hash, or asks for too much, matches nothing
SET client_min_messages = warning;
SELECT plinth.auth_password_verify('password', hash)
FROM unnest(ARRAY[NULL, '', 'password', '$2a$06$ohhDgHPIBKYqB7RFUCCAFO8q5SyQpHvNuqdFMx4nHAvNq3VvXKIS2',
	'$argon2id$v=19$m=65536,t=2,p=1$', '$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA',
	'$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
	'$argon2id$v=19$m=65536,t=200,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
	'$argon2id$v=19$m=99999999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
	repeat('$argon2id$v=19$m=65536,t=2,p=1$AA', 10)]) AS h (hash);
RESET client_min_messages;

-- weaker ones are known as such, stronger ones are left alone
SELECT plinth.auth_password_outdated(:'hash') AS same;
SET plinth.password_memory = '20MB';
SELECT plinth.auth_password_outdated(:'hash') AS less_memory;
SET plinth.password_memory = '19MB';
SET plinth.password_passes = 3;
SELECT plinth.auth_password_outdated(:'hash') AS fewer_passes;
RESET plinth.password_passes;
SELECT plinth.auth_password_outdated('$argon2id$v=19$m=65536,t=4,p=1$x') AS stronger,
	plinth.auth_password_outdated('$2a$06$ohhDgHPIBKYqB7RFUCCAFO8q5SyQpHvNuqdFMx4nHAvNq3VvXKIS2') AS other_kind;

-- which passwords may be chosen; no message repeats one
SELECT plinth.auth_password_check('seven77');
SELECT plinth.auth_password_check(NULL);
SELECT plinth.auth_password_check(repeat('x', 1025));
SELECT plinth.auth_password_check('password');
SELECT plinth.auth_password_check('Password1');
SELECT plinth.auth_password_check('ZXCVBNM123');
SELECT plinth.auth_password_check('00000000');
SELECT plinth.auth_password_check('eight888') AS ok, plinth.auth_password_check(repeat('é', 512)) AS ok_long,
	plinth.auth_password_check(E'\t \n of any kind') AS ok_odd;

-- a token is 256 bits of base64url, never the same
SELECT token ~ '^[A-Za-z0-9_-]{43}$' AS form, count(*) OVER () AS rows
FROM (SELECT DISTINCT plinth.auth_new_token() AS token FROM generate_series(1, 1000)) AS t LIMIT 1;

-- the settings keep their limits
\set VERBOSITY sqlstate
SET plinth.password_memory = '18MB';
SET plinth.password_memory = '129MB';
SET plinth.password_passes = 1;
SET plinth.password_passes = 5;
SET plinth.password_hash_slots = 8;
SET plinth.password_list = '/dev/null';

-- NULLs
SELECT plinth.auth_password_hash(NULL) IS NULL AS hash, plinth.auth_password_outdated(NULL) IS NULL AS outdated;

-- nobody but the owner of the accounts' functions
SET ROLE anon;
SELECT plinth.auth_password_hash('correct horse');
SELECT plinth.auth_password_verify('correct horse', 'x');
SELECT plinth.auth_password_outdated('x');
SELECT plinth.auth_password_check('correct horse');
SELECT plinth.auth_new_token();
SET plinth.password_memory = '64MB';
SET ROLE authenticated;
SELECT plinth.auth_password_hash('correct horse');
SET ROLE service_role;
SELECT plinth.auth_password_hash('correct horse');
SET ROLE plinth_owner;
SELECT plinth.auth_password_verify('correct horse', plinth.auth_password_hash('correct horse'));
RESET ROLE;
RESET plinth.password_memory;
