-- ---------------------------------------------------------------------
-- Module: auth
--
--		Who the users are, how they prove it, and which sessions they have.
--
-- Schema:	auth
-- Needs:	nothing
-- Offers:	auth.uid() and the other claims functions, auth.is_admin(),
--			auth.sign_up(), auth.sign_in_with_password(),
--			auth.refresh_session(), auth.verify_otp(), auth.sign_out()
-- Rights:	a user reads their own sessions, identities and events, and
--			their account through the view me; everything else by function
-- Tests:	test/regress/sql/auth.sql, auth_rights.sql
-- ---------------------------------------------------------------------
CREATE SCHEMA @schema@;
COMMENT ON SCHEMA @schema@ IS 'plinth: accounts, sessions, tokens';

-- Both metadata columns are carried by every access token, hence their size.
CREATE TABLE @schema@.users (
	id					uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	email				text,
	encrypted_password	text,
	email_confirmed_at	timestamptz,
	raw_user_meta_data	jsonb NOT NULL DEFAULT '{}',
	raw_app_meta_data	jsonb NOT NULL DEFAULT '{}',
	app_role			text NOT NULL DEFAULT 'user',
	is_anonymous		boolean NOT NULL DEFAULT false,
	failed_attempts		integer NOT NULL DEFAULT 0,
	locked_until		timestamptz,
	banned_until		timestamptz,
	last_sign_in_at		timestamptz,
	created_at			timestamptz NOT NULL DEFAULT now(),
	updated_at			timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT users_email_or_anonymous CHECK (email IS NOT NULL OR is_anonymous),
	CONSTRAINT users_email_form CHECK (email ~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'
		AND char_length(email) <= 320),
	CONSTRAINT users_user_meta_data CHECK (jsonb_typeof(raw_user_meta_data) = 'object'
		AND octet_length(raw_user_meta_data::text) <= 4096),
	CONSTRAINT users_app_meta_data CHECK (jsonb_typeof(raw_app_meta_data) = 'object'
		AND octet_length(raw_app_meta_data::text) <= 4096),
	CONSTRAINT users_app_role CHECK (app_role IN ('user', 'admin', 'developer')),
	CONSTRAINT users_failed_attempts CHECK (failed_attempts >= 0)
);
COMMENT ON TABLE @schema@.users IS 'accounts; no client has a right on this table, see the view me';
COMMENT ON COLUMN @schema@.users.raw_user_meta_data IS 'written by the user: never to be used for a permission';
COMMENT ON COLUMN @schema@.users.raw_app_meta_data IS 'written by the service only';
COMMENT ON COLUMN @schema@.users.failed_attempts IS 'all sources together, since the last success';
COMMENT ON COLUMN @schema@.users.locked_until IS 'sources that never signed in wait until then; locks of single sources are in lockouts';
CREATE UNIQUE INDEX users_email_key ON @schema@.users (lower(email));
CREATE INDEX users_created_at_idx ON @schema@.users (created_at DESC);

CREATE TABLE @schema@.identities (
	id				uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id			uuid NOT NULL REFERENCES @schema@.users ON DELETE CASCADE,
	provider		text NOT NULL,
	provider_id		text NOT NULL,
	identity_data	jsonb NOT NULL DEFAULT '{}',
	last_sign_in_at	timestamptz,
	created_at		timestamptz NOT NULL DEFAULT now(),
	updated_at		timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT identities_provider CHECK (provider IN ('email', 'google', 'github', 'apple', 'azure')),
	CONSTRAINT identities_provider_key UNIQUE (provider, provider_id)
);
COMMENT ON TABLE @schema@.identities IS 'ways in which a user can sign in; provider_id of an email identity is the user''s id';
CREATE INDEX identities_user_id_idx ON @schema@.identities (user_id);

CREATE TABLE @schema@.sessions (
	id			uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id		uuid NOT NULL REFERENCES @schema@.users ON DELETE CASCADE,
	aal			text NOT NULL DEFAULT 'aal1',
	amr			text[] NOT NULL DEFAULT '{}',
	user_agent	text,
	ip			inet,
	created_at	timestamptz NOT NULL DEFAULT now(),
	updated_at	timestamptz NOT NULL DEFAULT now(),
	not_after	timestamptz NOT NULL,
	revoked_at	timestamptz,
	CONSTRAINT sessions_aal CHECK (aal IN ('aal1', 'aal2'))
);
COMMENT ON TABLE @schema@.sessions IS 'sign-ins; a session is the family of its refresh tokens';
COMMENT ON COLUMN @schema@.sessions.amr IS 'how the user proved who they are (RFC 8176: pwd, otp; and recovery, oauth)';
COMMENT ON COLUMN @schema@.sessions.updated_at IS 'last use, for the idle limit';
COMMENT ON COLUMN @schema@.sessions.not_after IS 'absolute limit';
CREATE INDEX sessions_user_id_idx ON @schema@.sessions (user_id);
CREATE INDEX sessions_active_idx ON @schema@.sessions (user_id) WHERE revoked_at IS NULL;

CREATE TABLE @schema@.refresh_tokens (
	id					bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	session_id			uuid NOT NULL REFERENCES @schema@.sessions ON DELETE CASCADE,
	token_hash			bytea NOT NULL CONSTRAINT refresh_tokens_token_hash_key UNIQUE,
	parent_id			bigint CONSTRAINT refresh_tokens_parent_id_key UNIQUE
						REFERENCES @schema@.refresh_tokens ON DELETE SET NULL,
	successor_sealed	bytea,
	created_at			timestamptz NOT NULL DEFAULT now(),
	expires_at			timestamptz NOT NULL,
	used_at				timestamptz,
	revoked_at			timestamptz
);
COMMENT ON TABLE @schema@.refresh_tokens IS 'SHA-256 of refresh tokens; the tokens are stored nowhere';
COMMENT ON COLUMN @schema@.refresh_tokens.successor_sealed IS 'the next token, sealed under a key derived from this one, until the grace is over';
CREATE INDEX refresh_tokens_session_id_idx ON @schema@.refresh_tokens (session_id);
CREATE INDEX refresh_tokens_sealed_idx ON @schema@.refresh_tokens (used_at) WHERE successor_sealed IS NOT NULL;

CREATE TABLE @schema@.lockouts (
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id			uuid REFERENCES @schema@.users ON DELETE CASCADE,
	source			inet,
	failures		integer NOT NULL DEFAULT 0,
	refused			bigint NOT NULL DEFAULT 0,
	locked_until	timestamptz,
	last_failure_at	timestamptz NOT NULL DEFAULT now(),
	last_success_at	timestamptz,
	CONSTRAINT lockouts_key UNIQUE NULLS NOT DISTINCT (user_id, source),
	CONSTRAINT lockouts_failures CHECK (failures >= 0),
	CONSTRAINT lockouts_refused CHECK (refused >= 0)
);
COMMENT ON TABLE @schema@.lockouts IS 'failures to sign in, by account and source; without a user: those with any address that has no account, which is not kept; written by the upkeep worker from the security journal, and by a success';
COMMENT ON COLUMN @schema@.lockouts.source IS 'plinth.auth_source(); NULL: unknown, as of local connections';
COMMENT ON COLUMN @schema@.lockouts.failures IS 'in a row';
COMMENT ON COLUMN @schema@.lockouts.refused IS 'attempts that did not count because they were refused whatever the password: locked, banned, unconfirmed';

CREATE TABLE @schema@.one_time_tokens (
	id			uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id		uuid NOT NULL REFERENCES @schema@.users ON DELETE CASCADE,
	kind		text NOT NULL,
	token_hash	bytea NOT NULL CONSTRAINT one_time_tokens_token_hash_key UNIQUE,
	relates_to	text,
	redirect_to	text,
	created_at	timestamptz NOT NULL DEFAULT now(),
	expires_at	timestamptz NOT NULL,
	used_at		timestamptz,
	CONSTRAINT one_time_tokens_kind CHECK (kind IN
		('confirmation', 'recovery', 'email_change', 'magic_link', 'reauthentication'))
);
COMMENT ON TABLE @schema@.one_time_tokens IS 'SHA-256 of the tokens that mails carry; one unused token of a kind for each user';
COMMENT ON COLUMN @schema@.one_time_tokens.relates_to IS 'new address of an email_change';
CREATE UNIQUE INDEX one_time_tokens_unused_key ON @schema@.one_time_tokens (user_id, kind) WHERE used_at IS NULL;
CREATE INDEX one_time_tokens_user_id_idx ON @schema@.one_time_tokens (user_id);

CREATE TABLE @schema@.events (
	id			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id		uuid REFERENCES @schema@.users ON DELETE SET NULL,
	session_id	uuid,
	event		text NOT NULL,
	ip			inet,
	user_agent	text,
	created_at	timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT events_event CHECK (event IN ('SIGNED_IN', 'SIGNED_OUT', 'TOKEN_REFRESHED',
		'USER_UPDATED', 'PASSWORD_RECOVERY', 'MFA_VERIFIED', 'SIGN_IN_FAILED'))
);
COMMENT ON TABLE @schema@.events IS 'what happened to accounts and sessions, for their users and for subscribers';
CREATE INDEX events_user_id_idx ON @schema@.events (user_id, created_at DESC);
CREATE INDEX events_created_at_idx ON @schema@.events (created_at);

CREATE TABLE @schema@.redirect_urls (
	pattern	text PRIMARY KEY,
	CONSTRAINT redirect_urls_pattern CHECK (octet_length(pattern) BETWEEN 1 AND 2048)
);
COMMENT ON TABLE @schema@.redirect_urls IS 'where a link may lead: whole addresses, in which * stands for any run of letters, digits and . _ ~ -';

