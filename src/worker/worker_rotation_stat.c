/*-------------------------------------------------------------------------
 *
 * worker_rotation_stat.c
 *		How far the resealing of values is: plinth.stat_rotation.
 *
 * The figures are counted in the tables when they are asked for.  Only the
 * last error of a column is in shared memory, while there is one.
 *
 * Locking: rotation->lock guards every entry.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "worker/worker_rotation.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "claims/claims.h"

#define ROTATION_TRANCHE "plinth_rotation"

/* Columns with an error at once; those of more are in the log alone. */
#define ROTATION_ENTRIES 64
#define ROTATION_ERROR_SIZE 256
#define ROTATION_NAME_SIZE (4 * NAMEDATALEN)
#define STAT_COLUMNS 7

typedef struct RotationEntry
{
	Oid database; /* InvalidOid: free */
	char relation[ROTATION_NAME_SIZE];
	char column[NAMEDATALEN];
	char error[ROTATION_ERROR_SIZE];
} RotationEntry;

typedef struct RotationShared
{
	LWLock *lock;
	TimestampTz stats_reset;
	RotationEntry entries[ROTATION_ENTRIES];
} RotationShared;

/* Link to shared memory; NULL when the library was not preloaded. */
static RotationShared *rotation = NULL;

static RotationEntry *find_entry(const SecretsColumn *column);
static void copy_text(char *to, const char *from, int size);

void
plinth_worker_rotation_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(RotationShared)));
	RequestNamedLWLockTranche(ROTATION_TRANCHE, 1);
}

/*
 * The caller holds AddinShmemInitLock.
 */
void
plinth_worker_rotation_shmem_startup(void)
{
	bool found;

	rotation = ShmemInitStruct("plinth rotation", sizeof(RotationShared), &found);
	if (found)
		return;
	memset(rotation, 0, sizeof(RotationShared));
	rotation->lock = &(GetNamedLWLockTranche(ROTATION_TRANCHE))->lock;
	rotation->stats_reset = GetCurrentTimestamp();
}

void
plinth_worker_rotation_report(const SecretsColumn *column, const char *error)
{
	RotationEntry *entry;

	LWLockAcquire(rotation->lock, LW_EXCLUSIVE);
	entry = find_entry(column);
	if (error == NULL && entry != NULL)
		entry->database = InvalidOid;
	if (error != NULL)
	{
		for (int i = 0; i < ROTATION_ENTRIES && entry == NULL; i++)
			if (!OidIsValid(rotation->entries[i].database))
				entry = &rotation->entries[i];
		if (entry != NULL)
		{
			entry->database = MyDatabaseId;
			copy_text(entry->relation, column->relation, ROTATION_NAME_SIZE);
			copy_text(entry->column, column->column, NAMEDATALEN);
			copy_text(entry->error, error, ROTATION_ERROR_SIZE);
		}
	}
	LWLockRelease(rotation->lock);
}

/*
 * plinth.rotation_stat() -> setof (relation, column_name, key_id, done,
 * remaining, last_error, stats_reset)
 *
 * One row for each declared column of this database: its values under the
 * active seal key, and under others; both NULL when it is not there.
 *
 * Errors: 42501 the caller is neither service, monitor nor administrator;
 * 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_worker_rotation_stat);
Datum
plinth_sql_worker_rotation_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const SecretsKey *key;
	int16 key_id;
	ListCell *cell;

	plinth_claims_require_monitor("rotation");
	InitMaterializedSRF(fcinfo, 0);
	key = plinth_secrets_active(plinth_secrets_ring(), SECRETS_SEAL,
								SECRETS_XCHACHA20);
	key_id = key != NULL ? key->key_id : 0;

	foreach (cell, plinth_secrets_columns())
	{
		const SecretsColumn *column = lfirst(cell);
		Datum values[STAT_COLUMNS] = {0};
		bool nulls[STAT_COLUMNS] = {false};
		char error[ROTATION_ERROR_SIZE] = "";
		RotationEntry *entry;
		int64 under;
		int64 others;
		bool counted = plinth_secrets_count(column, key_id, &under, &others);

		LWLockAcquire(rotation->lock, LW_SHARED);
		entry = find_entry(column);
		if (entry != NULL)
			memcpy(error, entry->error, sizeof(error));
		LWLockRelease(rotation->lock);

		values[0] = CStringGetTextDatum(column->relation);
		values[1] = CStringGetTextDatum(column->column);
		values[2] = Int16GetDatum(key_id);
		nulls[2] = key_id == 0;
		values[3] = Int64GetDatum(under);
		values[4] = Int64GetDatum(others);
		nulls[3] = nulls[4] = !counted;
		values[5] = CStringGetTextDatum(error);
		nulls[5] = error[0] == '\0';
		values[6] = TimestampTzGetDatum(rotation->stats_reset);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * The entry of a column of this database; the caller holds the lock.
 */
static RotationEntry *
find_entry(const SecretsColumn *column)
{
	for (int i = 0; i < ROTATION_ENTRIES; i++)
	{
		RotationEntry *entry = &rotation->entries[i];

		if (entry->database == MyDatabaseId &&
			strncmp(entry->relation, column->relation, ROTATION_NAME_SIZE - 1) ==
				0 &&
			strncmp(entry->column, column->column, NAMEDATALEN - 1) == 0)
			return entry;
	}

	return NULL;
}

static void
copy_text(char *to, const char *from, int size)
{
	int length = pg_mbcliplen(from, (int) strlen(from), size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}
