-- ---------------------------------------------------------------------
-- Join: profiles with audit
--
--		What is private is recorded whole; of a profile, that it came or
--		went and a change of what decides rights.
-- ---------------------------------------------------------------------
SELECT audit.attach('@schema@.private_profiles', '{}', '{updated_at}');
SELECT audit.attach('@schema@.profiles', '{}',
	'{updated_at,username,full_name,avatar_url,website,bio,location}');
