-- ---------------------------------------------------------------------
-- Module: profiles
--
--		What a user shows of themselves, what they keep for themselves, and
--		their inbox.  Two tables, because row security hides rows and not
--		columns.
--
-- Schema:	profiles
-- Needs:	auth
-- Offers:	profiles.get_or_create_profile(), profiles.search_profiles(),
--			profiles.get_user_stats(), profiles.notify()
-- Rights:	profiles are read by everyone and written by their user; what is
--			private is read by its user and administrators; a notification
--			is read, marked and deleted by its user
-- Tests:	test/regress/sql/profiles.sql, profiles_rights.sql
-- ---------------------------------------------------------------------
CREATE SCHEMA @schema@;
COMMENT ON SCHEMA @schema@ IS 'plinth: profiles and notifications';

CREATE TABLE @schema@.profiles (
	id			uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE,
	created_at	timestamptz NOT NULL DEFAULT now(),
	updated_at	timestamptz NOT NULL DEFAULT now(),
	username	text CONSTRAINT profiles_username_idx UNIQUE,
	full_name	text,
	avatar_url	text,
	website		text,
	bio			text,
	location	text,
	user_type	text NOT NULL DEFAULT 'student',
	is_guest	boolean NOT NULL DEFAULT false,
	CONSTRAINT username_length CHECK (char_length(username) BETWEEN 3 AND 50),
	CONSTRAINT username_format CHECK (username ~ '^[a-zA-Z0-9_]+$'),
	CONSTRAINT full_name_length CHECK (char_length(full_name) <= 200),
	CONSTRAINT avatar_url_length CHECK (char_length(avatar_url) <= 2048),
	CONSTRAINT website_format CHECK (website ~* '^https?://[^[:space:][:cntrl:]]+$'
		AND char_length(website) <= 2048),
	CONSTRAINT bio_length CHECK (char_length(bio) <= 500),
	CONSTRAINT location_length CHECK (char_length(location) <= 200),
	CONSTRAINT profiles_user_type CHECK (user_type IN ('student', 'teacher', 'alumni'))
);
COMMENT ON TABLE @schema@.profiles IS 'what everybody may see of a user';
COMMENT ON COLUMN @schema@.profiles.user_type IS 'set by set_user_type only: other modules grant rights by it';
COMMENT ON COLUMN @schema@.profiles.is_guest IS 'the account has no address yet; follows the account';
-- Alice and alice are one.
CREATE UNIQUE INDEX profiles_username_lower_key ON @schema@.profiles (lower(username));
CREATE INDEX profiles_created_at_idx ON @schema@.profiles (created_at DESC);

-- A search for any part of a name, where the extension for it is there.
DO $do$
DECLARE
	operators	name;
BEGIN
	SELECT n.nspname INTO operators
	FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
	WHERE e.extname = 'pg_trgm';
	IF FOUND THEN
		EXECUTE format('CREATE INDEX profiles_search_idx ON @schema@.profiles '
			'USING gin (username %1$I.gin_trgm_ops, full_name %1$I.gin_trgm_ops)', operators);
	END IF;
END
$do$;

CREATE TABLE @schema@.private_profiles (
	id			uuid PRIMARY KEY REFERENCES @schema@.profiles ON DELETE CASCADE,
	email		text,
	role		text NOT NULL DEFAULT 'user',
	preferences	jsonb NOT NULL DEFAULT '{}',
	created_at	timestamptz NOT NULL DEFAULT now(),
	updated_at	timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT private_profiles_role CHECK (role IN ('user', 'admin', 'developer')),
	CONSTRAINT private_profiles_preferences CHECK (jsonb_typeof(preferences) = 'object'
		AND octet_length(preferences::text) <= 65536)
);
COMMENT ON TABLE @schema@.private_profiles IS 'what a user and administrators see; email and role follow the account';
CREATE UNIQUE INDEX private_profiles_email_key ON @schema@.private_profiles (lower(email));

CREATE TABLE @schema@.notifications (
	id					uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id				uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
	type				text NOT NULL,
	title				text NOT NULL,
	message				text,
	data				jsonb NOT NULL DEFAULT '{}',
	is_read				boolean NOT NULL DEFAULT false,
	read_at				timestamptz,
	push_sent			boolean NOT NULL DEFAULT false,
	push_sent_at		timestamptz,
	push_token_used		text,
	push_claimed_until	timestamptz,
	opened				boolean NOT NULL DEFAULT false,
	opened_at			timestamptz,
	action_taken		text,
	scheduled_for		timestamptz NOT NULL DEFAULT now(),
	expires_at			timestamptz,
	related_entity_type	text,
	related_entity_id	uuid,
	created_at			timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT notifications_type_check CHECK (type IN ('coa_ready', 'client_added', 'error', 'info',
		'data_export_complete', 'insight', 'achievement', 'task_reminder', 'milestone', 'system')),
	CONSTRAINT notifications_title CHECK (char_length(title) BETWEEN 1 AND 200),
	CONSTRAINT notifications_message CHECK (message IS NOT NULL
		OR type NOT IN ('insight', 'achievement', 'task_reminder', 'milestone', 'system')),
	CONSTRAINT notifications_data CHECK (jsonb_typeof(data) = 'object' AND octet_length(data::text) <= 65536),
	CONSTRAINT notifications_read CHECK (is_read = (read_at IS NOT NULL)),
	CONSTRAINT notifications_opened CHECK (opened = (opened_at IS NOT NULL) AND (is_read OR NOT opened)),
	CONSTRAINT notifications_action CHECK (char_length(action_taken) <= 200),
	CONSTRAINT notifications_expires CHECK (expires_at > created_at)
);
COMMENT ON TABLE @schema@.notifications IS 'one inbox for each user; a row shows from scheduled_for to expires_at';
COMMENT ON COLUMN @schema@.notifications.opened IS 'the pushed notification was tapped';
COMMENT ON COLUMN @schema@.notifications.push_claimed_until IS 'a sender has taken it for sending until then';
CREATE INDEX idx_notifications_user ON @schema@.notifications (user_id);
CREATE INDEX idx_notifications_unread ON @schema@.notifications (user_id, scheduled_for DESC) WHERE is_read = false;
CREATE INDEX idx_notifications_unopened ON @schema@.notifications (user_id, scheduled_for DESC) WHERE opened = false;
CREATE INDEX idx_notifications_created ON @schema@.notifications (created_at DESC);
CREATE INDEX idx_notifications_pending_push ON @schema@.notifications (scheduled_for) WHERE push_sent = false;

