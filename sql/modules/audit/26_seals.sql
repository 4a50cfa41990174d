-- ---------------------------------------------------------------------
-- Function: @schema@.verify(from_time, to_time, head jsonb)
--			 -> setof (seal_id bigint, status text, detail text)
--
--		Is the log what was sealed?
--
--	from_time, to_time	both included; NULL = no end
--	head				an earlier @schema@.head(), kept outside, or NULL
--
-- One row for each seal that has records of the range.  status is ok, or
-- changed, removed, added, reordered with the record or the seal in detail,
-- or purged.  A head that is no longer in the chain has a row of its own.
--
-- SECURITY DEFINER so that a refusal is an error and not an empty result.
-- Errors: 42501 neither administrator nor service; 22023 head is not one;
-- 55000 the key of a seal is not in the keyring.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.verify(from_time timestamptz, to_time timestamptz,
								head jsonb DEFAULT NULL,
								OUT seal_id bigint, OUT status text, OUT detail text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT @schema@.check_reader();
	SELECT v.seal_id, v.status, v.detail
	FROM plinth.audit_verify(verify.from_time, verify.to_time, verify.head) AS v;
END;

COMMENT ON FUNCTION @schema@.verify(timestamptz, timestamptz, jsonb) IS
'check the seals that have records of the range, both ends included, NULL = no end, and that head, an earlier @schema@.head(), is in the chain; status ok, changed, removed, added, reordered or purged; for administrators and service_role; errors: 42501, 22023 head is not one, 55000 a key is not in the keyring';

-- ---------------------------------------------------------------------
-- Function: @schema@.head() -> jsonb
--
--		The last seal, to be kept outside: who cuts off what came before
--		cannot make it again.
--
-- Returns seal_id, hash and signature (hexadecimal); NULL without seals.
-- Errors: 42501 neither administrator nor service.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.head()
RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT @schema@.check_reader();
	SELECT plinth.audit_head();
END;

COMMENT ON FUNCTION @schema@.head() IS
'number, hash and signature of the last seal, NULL when there is none; for administrators and service_role; errors: 42501';

-- ---------------------------------------------------------------------
-- Function: @schema@.proof(record_id uuid) -> jsonb
--
--		The proof that a record was sealed, to be checked by anyone who has
--		the public key: the record's bytes, the inclusion path, the seal.
--
--	record_id	id of the audit record
--
-- Errors: 42501 neither administrator nor service; P0002 no such record;
-- 55000 it has no seal yet, or its seal does not hold.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.proof(record_id uuid)
RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT @schema@.check_reader();
	SELECT plinth.audit_proof(proof.record_id);
END;

COMMENT ON FUNCTION @schema@.proof(uuid) IS
'proof that the audit record of this id was sealed: its bytes, the inclusion path (RFC 9162 section 2.1.3), the seal''s signed bytes, signature and public key, hexadecimal; for administrators and service_role; errors: 42501, P0002 no such record, 55000 no seal yet or the seal does not hold';
