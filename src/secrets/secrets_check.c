/*-------------------------------------------------------------------------
 *
 * secrets_check.c
 *		Does the keyring belong to the data?
 *
 * plinth.key_checks has a value for each key that this database has used: a
 * MAC of a constant.  A server whose keyring was lost and made anew, or taken
 * from elsewhere, has another key under that number: it is refused before it
 * seals anything, and what it cannot open is not called forged.
 *
 * The row is written by whoever uses a key first, in the user's transaction.
 * Nobody waits for that: another session finds the lock on the number taken,
 * goes on, and writes the row at its next use if the first has rolled back.
 * The lock lasts until the end of the transaction, or of the subtransaction
 * that would take the row back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/bytes.h"
#include "base/compat.h"
#include "base/relations.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define CHECKS_TABLE "key_checks"

/* Columns of plinth.key_checks. */
enum
{
	CHECKS_KEY_ID = 1,
	CHECKS_VALUE
};

#define CHECKS_COLUMNS CHECKS_VALUE

/*
 * Check values that this process has found in the table; what they belong to
 * does not change while the process lives.
 */
#define KNOWN_CHECKS 16
static uint8 known[KNOWN_CHECKS][SECRETS_CHECK_SIZE];
static int16 known_key[KNOWN_CHECKS];
static int known_count = 0;

static bool is_known(int16 key_id, const uint8 *check);
static bool find_check(Relation checks, int16 key_id, uint8 *check);
static void note_check(Relation checks, int16 key_id, const uint8 *check);
static Snapshot newest_snapshot(void);
static void read_row(HeapTuple row, TupleDesc desc, int16 *key_id, uint8 *check);
static const char *row_problem(HeapTuple row, TupleDesc desc,
							   const SecretsRing *ring);

void
plinth_secrets_require_fit(const SecretsKey *key, bool noting)
{
	uint8 check[SECRETS_CHECK_SIZE];
	uint8 found[SECRETS_CHECK_SIZE];
	int16 key_id = key->key_id;
	Relation checks;
	bool fits = true;

	plinth_secrets_box_check(key, check);
	if (is_known(key_id, check))
		return;

	noting =
		noting && !XactReadOnly && !IsInParallelMode() && !RecoveryInProgress();
	checks = table_open(plinth_relation_require(CHECKS_TABLE),
						noting ? RowExclusiveLock : AccessShareLock);
	if (find_check(checks, key_id, found))
		fits = plinth_bytes_equal(check, found, sizeof(check));
	else if (noting)
		note_check(checks, key_id, check);
	table_close(checks, NoLock);

	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key %d of the keyring is not the one that this database "
						"has used",
						key_id),
				 errhint("Put the keyring back that belongs to the data, or "
						 "import its keys with plinth.keyring_import().")));
}

bool
plinth_secrets_is_noted(const SecretsKey *key)
{
	uint8 check[SECRETS_CHECK_SIZE];
	uint8 found[SECRETS_CHECK_SIZE];
	Relation checks =
		table_open(plinth_relation_require(CHECKS_TABLE), AccessShareLock);
	bool noted;

	plinth_secrets_box_check(key, check);
	noted = find_check(checks, key->key_id, found) &&
			plinth_bytes_equal(check, found, sizeof(check));
	table_close(checks, NoLock);

	return noted;
}

/*
 * plinth.keyring_problem() -> text
 *
 * What is wrong with the keyring; NULL when it belongs to the data.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_keyring_problem);
Datum
plinth_sql_secrets_keyring_problem(PG_FUNCTION_ARGS)
{
	const char *problem = plinth_secrets_problem();

	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}

const char *
plinth_secrets_problem(void)
{
	const SecretsRing *ring;
	const char *problem = plinth_secrets_try_ring(&ring);
	Relation checks;
	Snapshot snapshot;
	SysScanDesc scan;
	HeapTuple row;

	if (problem != NULL)
		return problem;

	checks = table_open(plinth_relation_require(CHECKS_TABLE), AccessShareLock);
	snapshot = RegisterSnapshot(newest_snapshot());
	scan = systable_beginscan(checks, plinth_primary_key_index(checks), true,
							  snapshot, 0, NULL);
	while (problem == NULL && HeapTupleIsValid(row = systable_getnext(scan)))
		problem = row_problem(row, RelationGetDescr(checks), ring);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(checks, NoLock);

	return problem;
}

/*
 * What is wrong with the key of a row, or NULL.
 */
static const char *
row_problem(HeapTuple row, TupleDesc desc, const SecretsRing *ring)
{
	uint8 expected[SECRETS_CHECK_SIZE];
	uint8 check[SECRETS_CHECK_SIZE];
	int16 key_id;

	read_row(row, desc, &key_id, expected);
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].key_id == key_id)
		{
			plinth_secrets_box_check(&ring->keys[i], check);
			if (plinth_bytes_equal(check, expected, sizeof(check)))
				return NULL;
			return psprintf("Key %d of the keyring is not the one that this "
							"database has used.",
							key_id);
		}

	return psprintf(
		"Key %d, which this database has used, is not in the keyring.", key_id);
}

/*
 * Is that a value which this process has found in the table?
 */
static bool
is_known(int16 key_id, const uint8 *check)
{
	for (int i = 0; i < known_count; i++)
		if (known_key[i] == key_id &&
			memcmp(known[i], check, SECRETS_CHECK_SIZE) == 0)
			return true;

	return false;
}

/*
 * Look a key's check value up, and remember it when the row is there to stay.
 */
static bool
find_check(Relation checks, int16 key_id, uint8 *check)
{
	Snapshot snapshot = RegisterSnapshot(newest_snapshot());
	ScanKeyData scan_key;
	SysScanDesc scan;
	HeapTuple row;
	bool found = false;

	ScanKeyInit(&scan_key, CHECKS_KEY_ID, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(key_id));
	scan = systable_beginscan(checks, plinth_primary_key_index(checks), true,
							  snapshot, 1, &scan_key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
	{
		int16 number;

		found = true;
		read_row(row, RelationGetDescr(checks), &number, check);
		if (known_count < KNOWN_CHECKS && !TransactionIdIsCurrentTransactionId(
											  HeapTupleHeaderGetXmin(row->t_data)))
		{
			memcpy(known[known_count], check, SECRETS_CHECK_SIZE);
			known_key[known_count++] = key_id;
		}
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);

	return found;
}

/*
 * Write a key's check value, unless somebody is at it.
 */
static void
note_check(Relation checks, int16 key_id, const uint8 *check)
{
	uint8 found[SECRETS_CHECK_SIZE];
	bytea *value = palloc(VARHDRSZ + SECRETS_CHECK_SIZE);
	Datum values[CHECKS_COLUMNS];
	bool nulls[CHECKS_COLUMNS] = {false};
	LOCKTAG tag;
	HeapTuple row;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId,
					   RelationGetRelid(checks), (uint16) key_id);
	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_OK)
		return;
	/* whoever held the lock before may have written the row */
	if (find_check(checks, key_id, found))
		return;

	SET_VARSIZE(value, VARHDRSZ + SECRETS_CHECK_SIZE);
	memcpy(VARDATA(value), check, SECRETS_CHECK_SIZE);
	values[CHECKS_KEY_ID - 1] = Int16GetDatum(key_id);
	values[CHECKS_VALUE - 1] = PointerGetDatum(value);
	row = heap_form_tuple(RelationGetDescr(checks), values, nulls);
	CatalogTupleInsert(checks, row);
	heap_freetuple(row);
}

/*
 * What is committed now, whatever the transaction's isolation level; a
 * parallel worker has what its leader sees.
 */
static Snapshot
newest_snapshot(void)
{
	return IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot();
}

/*
 * Take a row apart.  A check value of another size is that of no key.
 */
static void
read_row(HeapTuple row, TupleDesc desc, int16 *key_id, uint8 *check)
{
	bool isnull;
	bytea *value;

	*key_id = DatumGetInt16(heap_getattr(row, CHECKS_KEY_ID, desc, &isnull));
	value = DatumGetByteaPP(heap_getattr(row, CHECKS_VALUE, desc, &isnull));
	memset(check, 0, SECRETS_CHECK_SIZE);
	if (VARSIZE_ANY_EXHDR(value) == SECRETS_CHECK_SIZE)
		memcpy(check, VARDATA_ANY(value), SECRETS_CHECK_SIZE);
}
