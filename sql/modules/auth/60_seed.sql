-- ---------------------------------------------------------------------
-- Seed: how many requests each kind of caller has, and what is sealed
--
--		A restored table has its rows already.
-- ---------------------------------------------------------------------
INSERT INTO plinth.rate_limit_tiers (name, requests, window_seconds) VALUES
	('anonymous', 10, 60),
	('authenticated', 60, 60),
	('premium', 120, 60),
	('ai_endpoints', 5, 60),
	('api', 100, 60)
ON CONFLICT (name) DO NOTHING;

-- A change of the seal key reaches the secrets of the factors.
INSERT INTO plinth.sealed_columns (relation, column_name, reseal_function) VALUES
	('@schema@.mfa_factors', 'secret_sealed', '@schema@.rotate_mfa_keys')
ON CONFLICT (relation, column_name) DO NOTHING;
