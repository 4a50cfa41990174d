-- ---------------------------------------------------------------------
-- Second factors: authenticators, what they were asked, and spare codes
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.mfa_factors (
	id				uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id			uuid NOT NULL REFERENCES @schema@.users ON DELETE CASCADE,
	factor_type		text NOT NULL DEFAULT 'totp',
	friendly_name	text,
	secret_sealed	bytea NOT NULL,
	status			text NOT NULL DEFAULT 'unverified',
	last_used_step	bigint,
	created_at		timestamptz NOT NULL DEFAULT now(),
	updated_at		timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT mfa_factors_factor_type CHECK (factor_type = 'totp'),
	CONSTRAINT mfa_factors_friendly_name CHECK (char_length(friendly_name) BETWEEN 1 AND 100),
	CONSTRAINT mfa_factors_status CHECK (status IN ('unverified', 'verified')),
	CONSTRAINT mfa_factors_name_key UNIQUE (user_id, friendly_name)
);
COMMENT ON TABLE @schema@.mfa_factors IS 'authenticators of users; one counts when it has shown a code';
COMMENT ON COLUMN @schema@.mfa_factors.secret_sealed IS 'plinth.seal() in the context mfa_factors.secret_sealed:<id>; the key is outside the database';
COMMENT ON COLUMN @schema@.mfa_factors.last_used_step IS 'of the last code taken: no code is good twice';

CREATE TABLE @schema@.mfa_challenges (
	id			uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	factor_id	uuid NOT NULL REFERENCES @schema@.mfa_factors ON DELETE CASCADE,
	created_at	timestamptz NOT NULL DEFAULT now(),
	expires_at	timestamptz NOT NULL,
	verified_at	timestamptz,
	attempts	integer NOT NULL DEFAULT 0,
	ip			inet,
	CONSTRAINT mfa_challenges_attempts CHECK (attempts >= 0)
);
COMMENT ON TABLE @schema@.mfa_challenges IS 'codes that were asked for; what the security journal has is not in attempts yet';
COMMENT ON COLUMN @schema@.mfa_challenges.attempts IS 'wrong codes';
CREATE INDEX mfa_challenges_factor_id_idx ON @schema@.mfa_challenges (factor_id, created_at);

CREATE TABLE @schema@.mfa_recovery_codes (
	id			uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id		uuid NOT NULL REFERENCES @schema@.users ON DELETE CASCADE,
	code_hash	bytea NOT NULL,
	used_at		timestamptz,
	CONSTRAINT mfa_recovery_codes_key UNIQUE (user_id, code_hash)
);
COMMENT ON TABLE @schema@.mfa_recovery_codes IS 'SHA-256 of the codes of a user who has no authenticator at hand; each is good once';

ALTER TABLE @schema@.sessions ADD COLUMN factor_id uuid REFERENCES @schema@.mfa_factors ON DELETE SET NULL;
COMMENT ON COLUMN @schema@.sessions.factor_id IS 'the factor that has raised the session to aal2';
CREATE INDEX sessions_factor_id_idx ON @schema@.sessions (factor_id);
