-- ---------------------------------------------------------------------
-- Certificates
-- ---------------------------------------------------------------------

-- ---------------------------------------------------------------------
-- Function: may_review() -> boolean
--
--		Is the caller a teacher or an admin?  Looked up at each use, so that
--		a demotion acts at once.
--
-- Definer: policies ask it, and must not depend on those of profiles.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.may_review()
RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
RETURN auth.is_admin() OR EXISTS (
	SELECT FROM profiles.profiles p
	WHERE p.id = auth.uid() AND p.user_type = 'teacher');

COMMENT ON FUNCTION @schema@.may_review() IS
'true for teachers and admins, who may read and decide requests for certificates';

-- ---------------------------------------------------------------------
-- Function: request_certification(skill_id uuid, level text,
--				evidence_type text, evidence_urls text[], description text)
--				-> certification_requests
--
--		Ask for a certificate of a skill at a level.
--
-- Errors: 28000 no user; 22023 a missing argument or no such level; P0002 no
-- such active skill; 23505 a request for the same is open.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.request_certification(
	skill_id uuid, level text, evidence_type text,
	evidence_urls text[] DEFAULT '{}', description text DEFAULT NULL)
RETURNS @schema@.certification_requests
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	request	@schema@.certification_requests;
BEGIN
	IF auth.uid() IS NULL THEN
		RAISE EXCEPTION 'Unauthorized'
			USING ERRCODE = 'invalid_authorization_specification',
				  HINT = 'Call this function with a signed token.';
	END IF;
	IF skill_id IS NULL OR evidence_type IS NULL OR btrim(evidence_type) = '' THEN
		RAISE EXCEPTION 'Missing required fields'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'A request needs a skill and a kind of evidence.';
	END IF;
	IF level IS NULL OR level NOT IN ('beginner', 'intermediate', 'advanced', 'expert') THEN
		RAISE EXCEPTION 'invalid level "%"', level
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'The levels are beginner, intermediate, advanced and expert.';
	END IF;
	PERFORM FROM @schema@.skills s
	WHERE s.id = request_certification.skill_id AND s.is_active;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'skill "%" does not exist', skill_id
			USING ERRCODE = 'no_data_found';
	END IF;

	INSERT INTO @schema@.certification_requests
		(user_id, skill_id, requested_level, evidence_type, evidence_urls, description)
	VALUES (auth.uid(), request_certification.skill_id, level, request_certification.evidence_type,
			coalesce(request_certification.evidence_urls, '{}'), request_certification.description)
	RETURNING * INTO request;
	RETURN request;
END;
$$;

COMMENT ON FUNCTION @schema@.request_certification(uuid, text, text, text[], text) IS
'ask for a certificate of a skill at a level (beginner, intermediate, advanced, expert); returns the pending request; errors: 28000 no user, 22023 missing or invalid argument, P0002 no such active skill, 23505 a request for the same is open';

-- A time as a certificate says it, whatever the session's zone; NULL for none.
CREATE FUNCTION @schema@.printed_time(moment timestamptz)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

COMMENT ON FUNCTION @schema@.printed_time(timestamptz) IS
'internal: a time in UTC as RFC 3339 writes it; NULL for none and for an infinite one';

-- Write the certificate that a request asks for, and sign what is printed.
CREATE FUNCTION @schema@.issue_certificate(
	request @schema@.certification_requests, reviewer uuid, valid_until timestamptz)
RETURNS @schema@.certifications
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	most_attempts	CONSTANT integer := 5;
	number			text;
	printed			jsonb;
	certificate		@schema@.certifications;
BEGIN
	SELECT jsonb_build_object(
		'holder_name', coalesce(p.full_name, p.username),
		'skill', s.name,
		'level', request.requested_level,
		'issued_at', @schema@.printed_time(now()),
		'expires_at', @schema@.printed_time(valid_until),
		'issuer', nullif(current_setting('plinth.jwt_issuer', true), ''))
	INTO STRICT printed
	FROM @schema@.skills s
	LEFT JOIN profiles.profiles p ON p.id = request.user_id
	WHERE s.id = request.skill_id;

	-- 48 random bits hardly ever meet a number that is taken
	FOR attempt IN 1 .. most_attempts LOOP
		number := plinth.generate_certificate_number();
		INSERT INTO @schema@.certifications
			(request_id, user_id, skill_id, level, certificate_number, verification_url,
			 issued_at, expires_at, verified_by, evidence, signed_body)
		VALUES (request.id, request.user_id, request.skill_id, request.requested_level, number,
				(plinth.setting('social.verification_base_url') #>> '{}') || number,
				now(), valid_until, reviewer, to_jsonb(request.evidence_urls),
				plinth.certificate_sign(printed || jsonb_build_object('number', number)))
		ON CONFLICT (certificate_number) DO NOTHING
		RETURNING * INTO certificate;
		IF FOUND THEN
			RETURN certificate;
		END IF;
	END LOOP;

	RAISE EXCEPTION 'could not find a certificate number that is not in use'
		USING ERRCODE = 'unique_violation',
			  DETAIL = format('%s numbers were tried.', most_attempts);
END;
$$;

COMMENT ON FUNCTION @schema@.issue_certificate(@schema@.certification_requests, uuid, timestamptz) IS
'internal: writes and signs the certificate of a request under a number of its own; errors: 23505 five numbers in a row were taken, 55000 no keyring';

-- ---------------------------------------------------------------------
-- Function: review_certification(request_id uuid, decision text, notes text,
--				expires_at timestamptz) -> certifications
--
--		Decide a request.
--
--	decision	under_review, approved or rejected
--	notes		kept with the request; NULL leaves what is there
--	expires_at	end of the certificate, in the future; NULL: none
--
-- Approved: the certificate is issued and the holder's skill verified at
-- its level.
-- Returns the certificate, or NULL when none is issued.
-- Errors: 28000 no user; 42501 neither teacher nor admin, or own request;
-- 22023 an invalid argument; P0002 no such request; 55000 it is decided;
-- 23505 no free number was found.
-- Definer: users may not write certificates.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.review_certification(
	request_id uuid, decision text, notes text DEFAULT NULL,
	expires_at timestamptz DEFAULT NULL)
RETURNS @schema@.certifications
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	reviewer	uuid := auth.uid();
	request		@schema@.certification_requests;
	certificate	@schema@.certifications;
BEGIN
	IF reviewer IS NULL THEN
		RAISE EXCEPTION 'Unauthorized'
			USING ERRCODE = 'invalid_authorization_specification',
				  HINT = 'Call this function with a signed token.';
	END IF;
	IF NOT @schema@.may_review() THEN
		RAISE EXCEPTION 'permission denied to review requests for certificates'
			USING ERRCODE = 'insufficient_privilege',
				  DETAIL = 'Teachers and admins may do that.';
	END IF;
	IF decision IS NULL OR decision NOT IN ('under_review', 'approved', 'rejected') THEN
		RAISE EXCEPTION 'invalid decision "%"', decision
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'The decisions are under_review, approved and rejected.';
	END IF;
	IF expires_at <= now() OR (expires_at IS NOT NULL AND decision <> 'approved') THEN
		RAISE EXCEPTION 'invalid end of a certificate'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'An end is in the future and comes with decision "approved".';
	END IF;

	-- two reviewers: the second waits, and finds the request decided
	SELECT r.* INTO request FROM @schema@.certification_requests r
	WHERE r.id = review_certification.request_id FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'request "%" does not exist', request_id
			USING ERRCODE = 'no_data_found';
	END IF;
	IF request.user_id = reviewer THEN
		RAISE EXCEPTION 'permission denied to review a request of one''s own'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF request.status IN ('approved', 'rejected') THEN
		RAISE EXCEPTION 'request "%" is decided', request_id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('It was %s.', request.status);
	END IF;

	UPDATE @schema@.certification_requests r
	SET status = decision, reviewed_by = reviewer, reviewed_at = now(),
		review_notes = coalesce(notes, r.review_notes)
	WHERE r.id = request.id;
	IF decision <> 'approved' THEN
		RETURN NULL;
	END IF;

	certificate := @schema@.issue_certificate(request, reviewer, expires_at);
	INSERT INTO @schema@.user_skills AS s
		(user_id, skill_id, proficiency_level, verified, verified_by, verified_at)
	VALUES (request.user_id, request.skill_id, request.requested_level, true, reviewer, now())
	ON CONFLICT (user_id, skill_id) DO UPDATE
	SET proficiency_level = excluded.proficiency_level, verified = true,
		verified_by = excluded.verified_by, verified_at = excluded.verified_at;
	RETURN certificate;
END;
$$;

COMMENT ON FUNCTION @schema@.review_certification(uuid, text, text, timestamptz) IS
'decide a request (under_review, approved, rejected); approved issues the certificate, returned, and verifies the skill; else NULL; errors: 28000 no user, 42501 neither teacher nor admin or own request, 22023 invalid argument, P0002 no such request, 55000 it is decided, 23505 no free number found';

-- ---------------------------------------------------------------------
-- Function: verify_certificate(number text) -> jsonb
--
--		What a certificate number stands for, for anybody who has it; letter
--		case and spaces around it do not matter.
--
-- Returns {valid, status, holder_name, skill, level, issued_at, expires_at,
-- revoked_at}; status valid, revoked, expired or unknown, and of an unknown
-- number nothing but that.
-- Errors: PT429 too many calls, counted by themselves in the caller's tier;
-- 55000 not preloaded.
-- Definer: certificates cannot be listed; whoever has the number may look.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.verify_certificate(number text)
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	counted	record;
	answer	jsonb;
BEGIN
	SELECT * INTO counted FROM plinth.rate_limit_caller('verify_certificate');
	IF NOT counted.allowed THEN
		RAISE EXCEPTION 'Rate limit exceeded'
			USING ERRCODE = 'PT429',
				  DETAIL = format('The limit is reset at %s.', counted.reset),
				  HINT = format('%s requests remain.', counted.remaining);
	END IF;

	-- Names are those that were printed: whoever renames a profile does not
	-- make somebody else the holder.
	SELECT jsonb_build_object(
		'valid', NOT c.is_revoked AND coalesce(c.expires_at > now(), true),
		'status', CASE WHEN c.is_revoked THEN 'revoked'
					   WHEN c.expires_at <= now() THEN 'expired'
					   ELSE 'valid' END,
		'holder_name', CASE WHEN printed.body IS NULL THEN coalesce(p.full_name, p.username)
							ELSE printed.body ->> 'holder_name' END,
		'skill', coalesce(printed.body ->> 'skill', s.name),
		'level', c.level,
		'issued_at', c.issued_at,
		'expires_at', c.expires_at,
		'revoked_at', c.revoked_at)
	INTO answer
	FROM @schema@.certifications c
	CROSS JOIN LATERAL (SELECT plinth.certificate_verify(c.signed_body) AS body) AS printed
	JOIN @schema@.skills s ON s.id = c.skill_id
	LEFT JOIN profiles.profiles p ON p.id = c.user_id
	WHERE c.certificate_number = upper(btrim(verify_certificate.number));

	RETURN coalesce(answer, jsonb_build_object(
		'valid', false, 'status', 'unknown', 'holder_name', NULL, 'skill', NULL, 'level', NULL,
		'issued_at', NULL, 'expires_at', NULL, 'revoked_at', NULL));
END;
$$;

COMMENT ON FUNCTION @schema@.verify_certificate(text) IS
'what a certificate number stands for: {valid, status, holder_name, skill, level, issued_at, expires_at, revoked_at}, status valid, revoked, expired or unknown; names as they were printed; no ids and no evidence; errors: PT429 too many calls of the caller''s tier, 55000 not preloaded';
