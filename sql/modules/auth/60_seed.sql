-- ---------------------------------------------------------------------
-- Seed: how many requests each kind of caller has
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

