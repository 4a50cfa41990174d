/*-------------------------------------------------------------------------
 *
 * audit_seal.c
 *		Sealing the log: the upkeep worker's step.
 *
 * A record belongs to the first seal of its era whose snapshot sees its
 * transaction as finished.  So a transaction that commits late is in a later
 * seal, and nobody waits for anybody: writers take no lock for this, and the
 * step takes none that they meet.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "audit/audit.h"
#include "audit/audit_seal.h"
#include "base/compat.h"
#include "base/names.h"
#include "secrets/secrets.h"

int plinth_audit_seal_interval = 10000; /* milliseconds */

/* Records fetched at once. */
#define FETCH_RECORDS 1000

/* What the batch of a seal has come to so far. */
typedef struct SealBatch
{
	AuditTree tree;
	TimestampTz first_at;
	TimestampTz last_at;
	StringInfoData leaves; /* AuditLeaf after AuditLeaf */
} SealBatch;

static void seal_new_records(void);
static bool read_last(AuditSeal *seal, int16 era);
static void collect(SealBatch *batch, const AuditSeal *seal,
					const AuditSeal *last, const AuditRange *range);
static void add_record(SealBatch *batch, HeapTuple tuple, TupleDesc tupdesc,
					   StringInfo bytes);
static void store(AuditSeal *seal, const SealBatch *batch);
static bytea *make_bytea(const void *bytes, Size length);
static Datum one_value(const char *query);

/*
 * Define plinth.audit_seal_interval; called by
 * plinth_audit_define_settings().
 */
void
plinth_audit_seal_define_settings(void)
{
	DefineCustomIntVariable(
		"plinth.audit_seal_interval",
		"Sets the time between two seals of the audit log.",
		"A seal is made only when there are records that have none.",
		&plinth_audit_seal_interval, 10000, 100, 24 * 60 * 60 * 1000,
		PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/*
 * Seal the records that have no seal.  Nothing where there are none or where
 * the module audit is not installed.  The caller knows that the database is
 * the one in which the modules were enabled.
 *
 * Runs in a transaction that has not written yet: a transaction cannot seal
 * its own records, because it may go on to write more.
 *
 * Errors: 55000 the keyring has no active audit key.
 */
void
plinth_audit_seal_step(void *arg)
{
	Oid user;
	int context;

	if (!OidIsValid(plinth_audit_seals_table()))
		return;
	Assert(!TransactionIdIsValid(GetTopTransactionIdIfAny()));

	/*
	 * With the rights of the log's owner, and without anybody else's functions
	 * and operators.  An error restores both, as the end of the transaction
	 * does for the path.
	 */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	seal_new_records();
	SetUserIdAndSecContext(user, context);
}

static void
seal_new_records(void)
{
	AuditSeal seal = {0};
	AuditSeal last_of_era;
	AuditSeal last;
	bool has_last;
	AuditRange range;
	SealBatch batch = {0};

	if (SPI_execute("LOCK TABLE audit.seals IN SHARE ROW EXCLUSIVE MODE", false,
					0) < 0)
		elog(ERROR, "could not lock the seals of the audit log");

	seal.era = plinth_audit_era();
	has_last = read_last(&last_of_era, seal.era);
	plinth_audit_batch_begin(&seal, has_last ? &last_of_era : NULL, &range);

	initStringInfo(&batch.leaves);
	collect(&batch, &seal, has_last ? &last_of_era : NULL, &range);
	if (batch.tree.count == 0)
		return;

	if (read_last(&last, 0))
	{
		AuditHash hash;

		plinth_audit_seal_hash(&last, &hash);
		seal.previous = make_bytea(hash.bytes, AUDIT_HASH_SIZE);
	}
	store(&seal, &batch);
	plinth_audit_batch_end(&seal);
}

/*
 * Read the last seal of an era, or of all when era is 0.
 */
static bool
read_last(AuditSeal *seal, int16 era)
{
	Oid types[] = {INT2OID};
	Datum values[] = {Int16GetDatum(era)};

	if (SPI_execute_with_args("SELECT " AUDIT_SEAL_COLUMNS " FROM audit.seals"
							  " WHERE era = $1 OR $1 = 0"
							  " ORDER BY id DESC LIMIT 1",
							  1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the last seal of the audit log");
	if (SPI_processed == 0)
		return false;

	plinth_audit_seal_read(seal, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);

	return true;
}

/*
 * Put the records that are the seal's into the batch, in the order of the
 * tree.
 */
static void
collect(SealBatch *batch, const AuditSeal *seal, const AuditSeal *last,
		const AuditRange *range)
{
	Oid types[] = {INT2OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[] = {
		Int16GetDatum(seal->era),
		CStringGetTextDatum(last != NULL ? last->snapshot_text : "1:1:"),
		CStringGetTextDatum(seal->snapshot_text),
		TimestampTzGetDatum(range->first_at),
		TimestampTzGetDatum(range->last_at)};
	MemoryContext context;
	MemoryContext caller;
	StringInfoData bytes;
	Portal portal;

	portal = SPI_cursor_open_with_args(
		NULL,
		"SELECT " AUDIT_RECORD_COLUMNS " FROM audit.audit_logs"
		" WHERE " AUDIT_UNSEALED " ORDER BY txid, created_at, id",
		lengthof(types), types, values, NULL, false, 0);

	initStringInfo(&bytes);
	context = AllocSetContextCreate(CurrentMemoryContext, "plinth audit seal",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_RECORDS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			CHECK_FOR_INTERRUPTS();
			caller = MemoryContextSwitchTo(context);
			add_record(batch, SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
					   &bytes);
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

/*
 * Add a record to the batch; the current context is emptied afterwards.
 */
static void
add_record(SealBatch *batch, HeapTuple tuple, TupleDesc tupdesc, StringInfo bytes)
{
	bool is_null;
	TimestampTz at = DatumGetTimestampTz(
		SPI_getbinval(tuple, tupdesc, AUDIT_LOG_CREATED_AT + 1, &is_null));
	AuditHash hash;

	resetStringInfo(bytes);
	plinth_audit_encode_record(bytes, tuple, tupdesc);
	plinth_audit_leaf_hash(bytes->data, bytes->len, &hash);
	plinth_audit_tree_add(&batch->tree, &hash);

	if (batch->tree.count == 1)
		batch->first_at = batch->last_at = at;
	batch->first_at = Min(batch->first_at, at);
	batch->last_at = Max(batch->last_at, at);

	if (batch->tree.count <= AUDIT_MAX_LEAVES)
	{
		AuditLeaf leaf;

		leaf.id = *DatumGetUUIDP(
			SPI_getbinval(tuple, tupdesc, AUDIT_LOG_ID + 1, &is_null));
		memcpy(leaf.prefix, hash.bytes, AUDIT_LEAF_PREFIX);
		appendBinaryStringInfo(&batch->leaves, (char *) &leaf, sizeof(leaf));
	}
}

/*
 * Sign the seal and put it at the end of the chain.
 */
static void
store(AuditSeal *seal, const SealBatch *batch)
{
	const SecretsKey *key = plinth_secrets_active(
		plinth_secrets_ring(), SECRETS_AUDIT, SECRETS_ED25519);
	bytea *leaves = NULL;
	AuditHash hash;
	StringInfoData bytes;
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	size_t size;
	Oid types[] = {INT8OID,		   INT2OID,	 TEXTOID,  TIMESTAMPTZOID,
				   TIMESTAMPTZOID, INT8OID,	 BYTEAOID, BYTEAOID,
				   BYTEAOID,	   BYTEAOID, INT2OID,  TIMESTAMPTZOID};
	Datum values[lengthof(types)];
	char nulls[lengthof(types)];

	if (key == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring has no active audit key"),
						errhint(PLINTH_PREFLIGHT_HINT)));

	seal->id = DatumGetInt64(one_value(
		"SELECT nextval(pg_get_serial_sequence('audit.seals', 'id'))"));
	seal->first_at = batch->first_at;
	seal->last_at = batch->last_at;
	seal->rows = batch->tree.count;
	plinth_audit_tree_root(&batch->tree, &hash);
	seal->root = make_bytea(hash.bytes, AUDIT_HASH_SIZE);
	seal->key_id = key->key_id;
	if (batch->tree.count <= AUDIT_MAX_LEAVES)
	{
		leaves = make_bytea(batch->leaves.data, batch->leaves.len);
		plinth_audit_hash(batch->leaves.data, batch->leaves.len, &hash);
		seal->leaves_hash = make_bytea(hash.bytes, AUDIT_HASH_SIZE);
	}

	initStringInfo(&bytes);
	plinth_audit_encode_seal(&bytes, seal);
	size = plinth_secrets_sign(key, bytes.data, bytes.len, signature);
	if (size == 0)
		elog(ERROR, "audit key %d does not sign", key->key_id);

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(seal->id);
	values[1] = Int16GetDatum(seal->era);
	values[2] = CStringGetTextDatum(seal->snapshot_text);
	values[3] = TimestampTzGetDatum(seal->first_at);
	values[4] = TimestampTzGetDatum(seal->last_at);
	values[5] = Int64GetDatum(seal->rows);
	values[6] = PointerGetDatum(seal->root);
	values[7] = PointerGetDatum(seal->previous);
	nulls[7] = seal->previous == NULL ? 'n' : ' ';
	values[8] = PointerGetDatum(leaves);
	nulls[8] = leaves == NULL ? 'n' : ' ';
	values[9] = PointerGetDatum(make_bytea(signature, size));
	values[10] = Int16GetDatum(seal->key_id);
	values[11] = TimestampTzGetDatum(seal->sealed_at);
	if (SPI_execute_with_args(
			"INSERT INTO audit.seals (id, era, snapshot, first_at, last_at, rows,"
			" root, previous, leaves, signature, key_id, sealed_at)"
			" OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3::pg_snapshot, $4, $5,"
			" $6, $7, $8, $9, $10, $11, $12)",
			lengthof(types), types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store a seal of the audit log");
}

static bytea *
make_bytea(const void *bytes, Size length)
{
	bytea *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), bytes, length);

	return result;
}

/*
 * The only value of a query, which is not null.
 */
static Datum
one_value(const char *query)
{
	bool is_null;
	Datum value;

	if (SPI_execute(query, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not run: %s", query);
	value =
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (is_null)
		elog(ERROR, "no result: %s", query);

	return value;
}
