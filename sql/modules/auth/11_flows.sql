-- ---------------------------------------------------------------------
-- Sign-ins by a provider that are under way (RFC 7636)
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.flow_states (
	id						uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	provider				text NOT NULL,
	code_challenge			text NOT NULL,
	code_challenge_method	text NOT NULL DEFAULT 'S256',
	auth_code_hash			bytea CONSTRAINT flow_states_auth_code_hash_key UNIQUE,
	user_id					uuid REFERENCES @schema@.users ON DELETE CASCADE,
	session_id				uuid REFERENCES @schema@.sessions ON DELETE SET NULL,
	redirect_to				text NOT NULL,
	query_params			jsonb NOT NULL DEFAULT '{}',
	created_at				timestamptz NOT NULL DEFAULT now(),
	expires_at				timestamptz NOT NULL,
	used_at					timestamptz,
	CONSTRAINT flow_states_provider CHECK (provider IN ('google', 'github', 'apple', 'azure')),
	CONSTRAINT flow_states_code_challenge CHECK (code_challenge ~ '^[A-Za-z0-9_-]{43}$'),
	CONSTRAINT flow_states_code_challenge_method CHECK (code_challenge_method = 'S256'),
	CONSTRAINT flow_states_query_params CHECK (jsonb_typeof(query_params) = 'object')
);
COMMENT ON TABLE @schema@.flow_states IS 'sign-ins by a provider from the challenge to the exchange of the code, of which only the hash is kept';
COMMENT ON COLUMN @schema@.flow_states.session_id IS 'what the code was exchanged for: it ends when the code comes again';
CREATE INDEX flow_states_user_id_idx ON @schema@.flow_states (user_id);
CREATE INDEX flow_states_session_id_idx ON @schema@.flow_states (session_id);
CREATE INDEX flow_states_expires_at_idx ON @schema@.flow_states (expires_at);
