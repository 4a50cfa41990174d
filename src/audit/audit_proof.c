/*-------------------------------------------------------------------------
 *
 * audit_proof.c
 *		What can be kept outside: the head of the chain, and the proof that a
 *		record is in it.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "audit/audit_verify.h"
#include "base/bytes.h"
#include "base/compat.h"
#include "secrets/secrets.h"

#define FETCH_RECORDS 1000

/* The record in question, and what has been found of its seal. */
typedef struct Proof
{
	pg_uuid_t *id;
	int16 era;
	FullTransactionId txid;
	AuditSeal seal;
	AuditHash *leaves; /* of the seal */
	int64 count;
	int64 index; /* of the record's */
} Proof;

static char *find_record(Proof *proof);
static char *find_seal(Proof *proof);
static void read_records(Proof *proof, const char *before);
static void put_proof(StringInfo out, const Proof *proof, const char *record);
static void put_hex(StringInfo out, const char *name, const void *bytes,
					Size length);
static void put_key(StringInfo out, const AuditSeal *seal);
static Datum as_jsonb(const StringInfoData *text);

/*
 * plinth.audit_head() -> jsonb
 *
 * The last seal: its number, its hash and its signature.  NULL when there is
 * none.  Rights are the caller's.
 *
 * Errors: 55000 the log is not installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_head);
Datum
plinth_sql_audit_head(PG_FUNCTION_ARGS)
{
	StringInfoData text;
	AuditSeal seal;
	AuditHash hash;

	plinth_audit_require_seals();
	initStringInfo(&text);

	SPI_connect();
	if (SPI_execute("SELECT " AUDIT_SEAL_COLUMNS
					" FROM audit.seals ORDER BY id DESC LIMIT 1",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the last seal of the audit log");
	if (SPI_processed == 0)
	{
		SPI_finish();
		PG_RETURN_NULL();
	}
	plinth_audit_seal_read(&seal, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	plinth_audit_seal_hash(&seal, &hash);
	appendStringInfo(&text, "{\"seal_id\": %lld", (long long) seal.id);
	put_hex(&text, "hash", hash.bytes, AUDIT_HASH_SIZE);
	put_hex(&text, "signature", VARDATA_ANY(seal.signature),
			VARSIZE_ANY_EXHDR(seal.signature));
	appendStringInfoChar(&text, '}');
	SPI_finish();

	return as_jsonb(&text);
}

/*
 * plinth.audit_proof(record_id uuid) -> jsonb
 *
 * The record's bytes, the inclusion path to the root of its seal, and the
 * seal's signed bytes, signature and key, all of them hexadecimal.  Rights
 * are the caller's.
 *
 * Errors: P0002 there is no such record; 55000 it has no seal yet, its seal
 * no longer holds, or the log is not installed.
 *
 * Source: RFC 9162 section 2.1.3.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_proof);
Datum
plinth_sql_audit_proof(PG_FUNCTION_ARGS)
{
	Proof proof = {.id = PG_GETARG_UUID_P(0), .index = -1};
	StringInfoData text;
	AuditTree tree = {0};
	AuditHash root;
	char *record;

	plinth_audit_require_seals();
	initStringInfo(&text);

	SPI_connect();
	record = find_record(&proof);
	read_records(&proof, find_seal(&proof));
	for (int64 i = 0; i < proof.count; i++)
		plinth_audit_tree_add(&tree, &proof.leaves[i]);
	plinth_audit_tree_root(&tree, &root);
	if (proof.index < 0 || !plinth_audit_same_hash(proof.seal.root, &root) ||
		plinth_audit_seal_fault(&proof.seal) != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("there is no proof: seal %lld does not hold",
							   (long long) proof.seal.id),
						errhint("audit.verify() says what is wrong with it.")));
	put_proof(&text, &proof, record);
	SPI_finish();

	return as_jsonb(&text);
}

/*
 * Find the record by the time inside its id; returns its bytes in
 * hexadecimal digits.
 */
static char *
find_record(Proof *proof)
{
	Oid types[] = {UUIDOID, TIMESTAMPTZOID};
	TimestampTz at = plinth_audit_id_time(proof->id);
	Datum values[] = {UUIDPGetDatum(proof->id), TimestampTzGetDatum(at)};
	StringInfoData bytes;
	char *hex;
	bool is_null;

	if (SPI_execute_with_args(
			"SELECT " AUDIT_RECORD_COLUMNS " FROM audit.audit_logs WHERE id = $1"
			" AND created_at >= $2 AND created_at < $2 + interval '1 ms'",
			2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a record of the audit log");
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
						errmsg("there is no audit record %s",
							   plinth_audit_record_name(proof->id))));

	proof->era =
		DatumGetInt16(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									AUDIT_LOG_ERA + 1, &is_null));
	proof->txid = DatumGetFullTransactionId(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
					  AUDIT_LOG_TXID + 1, &is_null));
	initStringInfo(&bytes);
	plinth_audit_encode_record(&bytes, SPI_tuptable->vals[0],
							   SPI_tuptable->tupdesc);
	hex = palloc_extended(PLINTH_HEX_SIZE((Size) bytes.len) + 1, MCXT_ALLOC_HUGE);
	plinth_bytes_to_hex(bytes.data, bytes.len, hex);

	return hex;
}

/*
 * Find the record's seal; returns the snapshot of the one before it in the
 * era.
 */
static char *
find_seal(Proof *proof)
{
	Oid types[] = {INT2OID, XID8OID};
	Datum values[] = {Int16GetDatum(proof->era),
					  FullTransactionIdGetDatum(proof->txid)};
	Oid seal_types[] = {INT2OID, INT8OID};
	Datum seal_values[2];

	if (SPI_execute_with_args("SELECT " AUDIT_SEAL_COLUMNS " FROM audit.seals"
							  " WHERE era = $1"
							  " AND pg_visible_in_snapshot($2, snapshot)"
							  " ORDER BY id LIMIT 1",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a seal of the audit log");
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("audit record %s has no seal yet",
							   plinth_audit_record_name(proof->id)),
						errhint("The upkeep worker makes one every "
								"\"plinth.audit_seal_interval\".")));
	plinth_audit_seal_read(&proof->seal, SPI_tuptable->vals[0],
						   SPI_tuptable->tupdesc);

	seal_values[0] = Int16GetDatum(proof->era);
	seal_values[1] = Int64GetDatum(proof->seal.id);
	if (SPI_execute_with_args(
			"SELECT snapshot::text FROM audit.seals WHERE era = $1 AND id < $2"
			" ORDER BY id DESC LIMIT 1",
			2, seal_types, seal_values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a seal of the audit log");

	return SPI_processed == 0
			   ? pstrdup("1:1:")
			   : SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/*
 * Hash the records of the seal.
 */
static void
read_records(Proof *proof, const char *before)
{
	Oid types[] = {INT2OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[] = {Int16GetDatum(proof->era), CStringGetTextDatum(before),
					  CStringGetTextDatum(proof->seal.snapshot_text),
					  TimestampTzGetDatum(proof->seal.first_at),
					  TimestampTzGetDatum(proof->seal.last_at)};
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth audit proof", ALLOCSET_DEFAULT_SIZES);
	int64 capacity = 1024;
	StringInfoData bytes;
	Portal portal;

	proof->leaves = palloc(sizeof(AuditHash) * capacity);
	initStringInfo(&bytes);
	portal = SPI_cursor_open_with_args(
		NULL,
		"SELECT " AUDIT_RECORD_COLUMNS " FROM audit.audit_logs"
		" WHERE era = $1 AND NOT pg_visible_in_snapshot(txid, $2::pg_snapshot)"
		" AND pg_visible_in_snapshot(txid, $3::pg_snapshot)"
		" AND created_at >= $4 AND created_at <= $5"
		" ORDER BY txid, created_at, id",
		5, types, values, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_RECORDS);
		if (SPI_processed == 0)
			break;
		if (proof->count + (int64) SPI_processed > capacity)
		{
			capacity = capacity * 2 + FETCH_RECORDS;
			proof->leaves =
				repalloc_huge(proof->leaves, sizeof(AuditHash) * capacity);
		}
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple tuple = SPI_tuptable->vals[i];
			MemoryContext caller = MemoryContextSwitchTo(context);
			bool is_null;
			Datum id;

			CHECK_FOR_INTERRUPTS();
			resetStringInfo(&bytes);
			plinth_audit_encode_record(&bytes, tuple, SPI_tuptable->tupdesc);
			id = SPI_getbinval(tuple, SPI_tuptable->tupdesc, AUDIT_LOG_ID + 1,
							   &is_null);
			if (memcmp(DatumGetUUIDP(id), proof->id, UUID_LEN) == 0)
				proof->index = proof->count;
			plinth_audit_leaf_hash(bytes.data, bytes.len,
								   &proof->leaves[proof->count++]);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(context);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	MemoryContextDelete(context);
	pfree(bytes.data);
}

static void
put_proof(StringInfo out, const Proof *proof, const char *record)
{
	AuditHash path[AUDIT_TREE_HEIGHT];
	int length =
		plinth_audit_tree_path(proof->leaves, proof->count, proof->index, path);
	StringInfoData seal;

	appendStringInfo(out, "{\"record_id\": \"%s\", \"record\": \"%s\"",
					 plinth_audit_record_name(proof->id), record);
	appendStringInfo(out, ", \"leaf_index\": %lld, \"tree_size\": %lld",
					 (long long) proof->index, (long long) proof->count);
	put_hex(out, "leaf_hash", proof->leaves[proof->index].bytes, AUDIT_HASH_SIZE);
	appendStringInfoString(out, ", \"path\": [");
	for (int i = 0; i < length; i++)
	{
		char hex[PLINTH_HEX_SIZE(AUDIT_HASH_SIZE) + 1];

		plinth_bytes_to_hex(path[i].bytes, AUDIT_HASH_SIZE, hex);
		appendStringInfo(out, "%s\"%s\"", i > 0 ? ", " : "", hex);
	}
	appendStringInfoChar(out, ']');
	put_hex(out, "root", VARDATA_ANY(proof->seal.root),
			VARSIZE_ANY_EXHDR(proof->seal.root));

	initStringInfo(&seal);
	plinth_audit_encode_seal(&seal, &proof->seal);
	appendStringInfo(out, ", \"seal_id\": %lld", (long long) proof->seal.id);
	put_hex(out, "seal", seal.data, seal.len);
	put_hex(out, "signature", VARDATA_ANY(proof->seal.signature),
			VARSIZE_ANY_EXHDR(proof->seal.signature));
	put_key(out, &proof->seal);
	appendStringInfoChar(out, '}');
}

/*
 * A member that is not the first of its object.
 */
static void
put_hex(StringInfo out, const char *name, const void *bytes, Size length)
{
	char *hex = palloc(PLINTH_HEX_SIZE(length) + 1);

	plinth_bytes_to_hex(bytes, length, hex);
	appendStringInfo(out, ", \"%s\": \"%s\"", name, hex);
	pfree(hex);
}

/*
 * The public key that the seal names, when it is in the keyring.
 */
static void
put_key(StringInfo out, const AuditSeal *seal)
{
	const SecretsRing *ring = plinth_secrets_ring();

	appendStringInfo(out, ", \"key_id\": %d", seal->key_id);
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].key_id == seal->key_id &&
			ring->keys[i].purpose == SECRETS_AUDIT)
			put_hex(out, "public_key", ring->keys[i].public_key,
					sizeof(ring->keys[i].public_key));
}

static Datum
as_jsonb(const StringInfoData *text)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text->data));
}
