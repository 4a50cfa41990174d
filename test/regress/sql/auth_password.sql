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

-- bcrypt strings made elsewhere: vectors of its reference implementation, under
-- each name that they go by
SELECT password, plinth.auth_password_verify(password, hash) AS matches
FROM (VALUES ('U*U', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'),
	('U*U', '$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'),
	('U*U', '$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'),
	('U*U*', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK'),
	('U*U*U', '$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a'),
	('', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy'),
	('U*V', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW'),
	('u*u', '$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW')) AS v (password, hash);
-- and what is none, or takes too long: its cost is 31, 15, 03, its length or
-- alphabet another, or it has the error of $2x$
SELECT plinth.auth_password_verify('U*U', hash) AS matches
FROM unnest(ARRAY['$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW',
	'$2a$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW',
	'$2a$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW',
	'$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW',
	'$2$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW', '$2a$05$', '$2', '$2a$xx$',
	'$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWW',
	'$2a$05$CCCCCCCCCCCCCCCCCCCCC*E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW', '$2a$05' || repeat('C', 1000000)]) AS h (hash);
SELECT plinth.auth_password_verify(repeat('x', 1025), '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW') AS too_long,
	plinth.auth_password_verify(NULL, '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW') AS is_null,
	plinth.auth_password_outdated('$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW') AS outdated;
-- pgcrypto is found where it is, and only its own function
CREATE SCHEMA regress_plinth_decoy;
CREATE FUNCTION regress_plinth_decoy.crypt(text, text) RETURNS text LANGUAGE sql AS 'SELECT $2';
SET search_path = regress_plinth_decoy, public;
SELECT plinth.auth_password_verify('wrong', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW') AS fooled,
	plinth.auth_password_verify('U*U', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW') AS matches;
RESET search_path;
DROP FUNCTION regress_plinth_decoy.crypt(text, text);
DROP SCHEMA regress_plinth_decoy;

-- a successor is for those who have the token before it, and for them whole
SELECT plinth.auth_successor_seal('before', 'after') AS sealed \gset
SELECT plinth.auth_successor_open('before', :'sealed') AS opened,
	plinth.auth_successor_open('Before', :'sealed') AS other_token,
	plinth.auth_successor_seal('before', 'after') <> :'sealed' AS never_the_same,
	octet_length(:'sealed'::bytea) AS bytes;
SELECT count(plinth.auth_successor_open('before', set_byte(:'sealed', n, get_byte(:'sealed', n) # 1))) AS changed,
	count(plinth.auth_successor_open('before', substr(:'sealed'::bytea, 1, n))) AS cut
FROM generate_series(0, 45) AS n;
SELECT plinth.auth_successor_open('before', NULL) IS NULL AS is_null, plinth.auth_successor_seal(NULL, 'x') IS NULL AS is_null;

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
SELECT plinth.auth_successor_seal('x', 'y');
SELECT plinth.auth_successor_open('x', 'y');
SET plinth.password_memory = '64MB';
SET ROLE authenticated;
SELECT plinth.auth_password_hash('correct horse');
SET ROLE service_role;
SELECT plinth.auth_password_hash('correct horse');
SET ROLE plinth_owner;
SELECT plinth.auth_password_verify('correct horse', plinth.auth_password_hash('correct horse'));
RESET ROLE;
RESET plinth.password_memory;
