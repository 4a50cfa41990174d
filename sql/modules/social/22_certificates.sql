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

-- Write the certificate that a request asks for.
CREATE FUNCTION @schema@.issue_certificate(
	request @schema@.certification_requests, reviewer uuid, valid_until timestamptz)
RETURNS @schema@.certifications
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	most_attempts	CONSTANT integer := 5;
	number			text;
	certificate		@schema@.certifications;
BEGIN
	-- 48 random bits hardly ever meet a number that is taken
	FOR attempt IN 1 .. most_attempts LOOP
		number := plinth.generate_certificate_number();
		INSERT INTO @schema@.certifications
			(request_id, user_id, skill_id, level, certificate_number, verification_url,
			 expires_at, verified_by, evidence)
		VALUES (request.id, request.user_id, request.skill_id, request.requested_level, number,
				(plinth.setting('social.verification_base_url') #>> '{}') || number,
				valid_until, reviewer, to_jsonb(request.evidence_urls))
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
'internal: writes the certificate of a request under a number of its own; error: 23505 five numbers in a row were taken';

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
-- Definer: certificates cannot be listed; whoever has the number may look.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.verify_certificate(number text)
RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
RETURN coalesce((
	SELECT jsonb_build_object(
		'valid', NOT c.is_revoked AND coalesce(c.expires_at > now(), true),
		'status', CASE WHEN c.is_revoked THEN 'revoked'
					   WHEN c.expires_at <= now() THEN 'expired'
					   ELSE 'valid' END,
		'holder_name', coalesce(p.full_name, p.username),
		'skill', s.name,
		'level', c.level,
		'issued_at', c.issued_at,
		'expires_at', c.expires_at,
		'revoked_at', c.revoked_at)
	FROM @schema@.certifications c
	JOIN @schema@.skills s ON s.id = c.skill_id
	LEFT JOIN profiles.profiles p ON p.id = c.user_id
	WHERE c.certificate_number = upper(btrim(verify_certificate.number))),
	jsonb_build_object(
		'valid', false, 'status', 'unknown', 'holder_name', NULL, 'skill', NULL, 'level', NULL,
		'issued_at', NULL, 'expires_at', NULL, 'revoked_at', NULL));

COMMENT ON FUNCTION @schema@.verify_certificate(text) IS
'what a certificate number stands for: {valid, status, holder_name, skill, level, issued_at, expires_at, revoked_at}, status valid, revoked, expired or unknown; no ids and no evidence';
