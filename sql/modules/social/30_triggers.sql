-- ---------------------------------------------------------------------
-- Triggers
-- ---------------------------------------------------------------------

CREATE TRIGGER user_levels_touch BEFORE UPDATE ON @schema@.user_levels
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER skills_touch BEFORE UPDATE ON @schema@.skills
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER user_skills_touch BEFORE UPDATE ON @schema@.user_skills
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER certification_requests_touch BEFORE UPDATE ON @schema@.certification_requests
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();

-- A certificate confirms one level: whoever then claims another one claims
-- it without certificate.
CREATE FUNCTION @schema@.withdraw_verification()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	NEW.verified := false;
	NEW.verified_by := NULL;
	NEW.verified_at := NULL;
	RETURN NEW;
END;
$$;

COMMENT ON FUNCTION @schema@.withdraw_verification() IS
'trigger: a skill whose level changes without a new certificate is not verified';

CREATE TRIGGER user_skills_verified BEFORE UPDATE OF proficiency_level ON @schema@.user_skills
	FOR EACH ROW
	WHEN (OLD.verified AND NEW.proficiency_level <> OLD.proficiency_level
		  AND NEW.verified_at IS NOT DISTINCT FROM OLD.verified_at)
	EXECUTE FUNCTION @schema@.withdraw_verification();

-- What is printed on a certificate stands (S10.2), for every role.
CREATE FUNCTION @schema@.refuse_certificate_change()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'cannot change certificate "%"', OLD.certificate_number
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  DETAIL = 'Number, holder, skill, level, time of issue and what is signed are final.',
			  HINT = 'Revoke it and issue another one.';
END;
$$;

COMMENT ON FUNCTION @schema@.refuse_certificate_change() IS
'trigger: 55000, as what is printed on a certificate is final';

CREATE TRIGGER certifications_final
	BEFORE UPDATE ON @schema@.certifications
	FOR EACH ROW
	WHEN (OLD.id <> NEW.id
		  OR OLD.certificate_number <> NEW.certificate_number
		  OR OLD.user_id <> NEW.user_id
		  OR OLD.skill_id <> NEW.skill_id
		  OR OLD.level <> NEW.level
		  OR OLD.issued_at <> NEW.issued_at
		  OR OLD.signed_body IS DISTINCT FROM NEW.signed_body)
	EXECUTE FUNCTION @schema@.refuse_certificate_change();
