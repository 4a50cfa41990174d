/*-------------------------------------------------------------------------
 *
 * worker_rotation.c
 *		Sealed values follow the active key.
 *
 * The upkeep worker calls the function that plinth.sealed_columns names for a
 * column, a batch in a transaction of its own, until there is nothing left to
 * reseal.  All that there is to resume lies in the values themselves: each
 * says which key it is under.  A batch is committed whole or not at all, and
 * the keys before the active one go on opening, so that no value is ever
 * unreadable, whenever the server stops.
 *
 * What this process remembers only spares it from looking again: a column that
 * is done under a key is looked at once more after a minute, for what was
 * sealed before the rotation and committed after it, and then every hour.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "worker/worker_internal.h"
#include "worker/worker_rotation.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/names.h"

/* Values that are resealed in one transaction. */
#define ROTATION_BATCH 500

/* Milliseconds between two looks for a new key or column. */
#define ROTATION_LOOK_MS 10000

/* Milliseconds until a column that is done is looked at again. */
#define ROTATION_SECOND_LOOK_MS (60 * 1000)
#define ROTATION_LATER_LOOK_MS (60 * 60 * 1000)

/* Milliseconds of the pause after a failure, and what it grows to. */
#define ROTATION_RETRY_MS 1000
#define ROTATION_MAX_RETRY_MS (60 * 1000)

/* A column, and how far it is. */
typedef struct RotationColumn
{
	SecretsColumn names;
	int16 key_id; /* that it is being resealed to, or is done under */
	int looks;	  /* that have found nothing to do under that key */
	int failures; /* since the last success */
	TimestampTz due;
} RotationColumn;

/* A look at the declared columns, and what it has found. */
typedef struct RotationLook
{
	int16 key_id;  /* the active seal key; 0 when there is none */
	List *columns; /* SecretsColumn, in rotation_context */
} RotationLook;

/* A batch, and what came of it. */
typedef struct RotationBatch
{
	const RotationColumn *column;
	int64 done;
	int64 left; /* values under other keys, when nothing was done */
} RotationBatch;

/* The columns of the last look, RotationColumn; and where they are. */
static List *columns = NIL;
static MemoryContext rotation_context = NULL;

static void look(void);
static void look_in_transaction(void *arg);
static RotationColumn *known_column(List *known, const SecretsColumn *names);
static void reseal(RotationColumn *column);
static void reseal_batch(void *arg);
static char *quoted_function(const char *name);
static void fail(RotationColumn *column, const char *error);
static void pause_column(RotationColumn *column, int64 pause_ms);

/*
 * plinth.rotate_keys(purpose text) -> text
 *
 * Make a new active key, as plinth.key_create(), and return its kid.  For
 * purpose seal the upkeep workers then reseal what plinth.sealed_columns
 * declares, that of this database at once.
 *
 * Errors: those of plinth.key_create().
 */
PG_FUNCTION_INFO_V1(plinth_sql_worker_rotate_keys);
Datum
plinth_sql_worker_rotate_keys(PG_FUNCTION_ARGS)
{
	char kid[SECRETS_KID_SIZE];

	plinth_secrets_create_named(text_to_cstring(PG_GETARG_TEXT_PP(0)), NULL, kid);
	plinth_worker_wake(WORKER_UPKEEP, MyDatabaseId);

	PG_RETURN_TEXT_P(cstring_to_text(kid));
}

long
plinth_worker_rotation_step(void)
{
	TimestampTz next;
	ListCell *cell;

	look();
	next = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROTATION_LOOK_MS);
	foreach (cell, columns)
	{
		RotationColumn *column = lfirst(cell);

		if (column->due <= GetCurrentTimestamp())
		{
			plinth_worker_set_state(WORKER_RUNNING);
			reseal(column);
			CHECK_FOR_INTERRUPTS();
		}
		next = Min(next, column->due);
	}

	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
}

/*
 * Look whether the active key or the declared columns are others now.  The
 * look is cheap: a small table and the loaded keyring.
 */
static void
look(void)
{
	RotationLook found = {0};
	List *known = columns;
	MemoryContext old_context = rotation_context;
	ListCell *cell;

	rotation_context = AllocSetContextCreate(TopMemoryContext, "plinth rotation",
											 ALLOCSET_SMALL_SIZES);
	if (!plinth_worker_attempt("looking for values to reseal",
							   look_in_transaction, &found))
		found.columns = NIL;
	columns = NIL;
	foreach (cell, found.columns)
	{
		SecretsColumn *names = lfirst(cell);
		RotationColumn *before = known_column(known, names);
		MemoryContext caller = MemoryContextSwitchTo(rotation_context);
		RotationColumn *column = palloc0(sizeof(RotationColumn));

		if (before != NULL && before->key_id == found.key_id)
			*column = *before;
		column->names = *names;
		column->key_id = found.key_id;
		columns = lappend(columns, column);
		MemoryContextSwitchTo(caller);
	}
	if (old_context != NULL)
		MemoryContextDelete(old_context);
}

static void
look_in_transaction(void *arg)
{
	RotationLook *found = arg;
	const SecretsKey *key;
	MemoryContext caller;

	/* a keyring that does not belong to the data reseals nothing */
	if (plinth_secrets_problem() != NULL)
		return;
	key = plinth_secrets_active(plinth_secrets_ring(), SECRETS_SEAL,
								SECRETS_XCHACHA20);
	if (key == NULL)
		return;
	found->key_id = key->key_id;

	caller = MemoryContextSwitchTo(rotation_context);
	found->columns = plinth_secrets_columns();
	MemoryContextSwitchTo(caller);
}

/*
 * What is remembered of a column, unless another function reseals it now.
 */
static RotationColumn *
known_column(List *known, const SecretsColumn *names)
{
	ListCell *cell;

	foreach (cell, known)
	{
		RotationColumn *column = lfirst(cell);

		if (strcmp(column->names.relation, names->relation) == 0 &&
			strcmp(column->names.column, names->column) == 0 &&
			strcmp(column->names.function, names->function) == 0)
			return column;
	}

	return NULL;
}

/*
 * Reseal one batch of a column, and decide when the next is due.
 */
static void
reseal(RotationColumn *column)
{
	RotationBatch batch = {.column = column};

	if (!plinth_worker_attempt("resealing values", reseal_batch, &batch))
		fail(column, plinth_worker_mine->last_error);
	else if (batch.done == 0 && batch.left > 0)
		fail(column, "the function has left values under other keys");
	else
	{
		column->failures = 0;
		plinth_worker_rotation_report(&column->names, NULL);
		if (batch.done > 0)
			column->looks = 0;
		else
			pause_column(column, column->looks++ == 0 ? ROTATION_SECOND_LOOK_MS
													  : ROTATION_LATER_LOOK_MS);
	}
}

/*
 * Call the column's function once, as plinth_owner.
 */
static void
reseal_batch(void *arg)
{
	RotationBatch *batch = arg;
	const RotationColumn *column = batch->column;
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(ROTATION_BATCH)};
	int64 under;
	Oid saved_user;
	int saved_context;
	bool isnull;

	plinth_worker_check();

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   saved_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute_with_args(psprintf("SELECT %s($1)::pg_catalog.int8",
									   quoted_function(column->names.function)),
							  lengthof(types), types, values, NULL, false,
							  1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not call %s", column->names.function);
	batch->done = DatumGetInt64(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull)
		batch->done = 0;
	SetUserIdAndSecContext(saved_user, saved_context);

	if (batch->done == 0 && !plinth_secrets_count(&column->names, column->key_id,
												  &under, &batch->left))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("column \"%s\" of table %s cannot hold sealed values",
						column->names.column, column->names.relation)));
}

/*
 * The function's name as a query needs it.
 */
static char *
quoted_function(const char *name)
{
	RangeVar *parts =
		makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));

	return quote_qualified_identifier(parts->schemaname, parts->relname);
}

static void
fail(RotationColumn *column, const char *error)
{
	int64 pause_ms = ROTATION_RETRY_MS;

	for (int i = 0; i < column->failures && pause_ms < ROTATION_MAX_RETRY_MS; i++)
		pause_ms *= 2;
	column->failures++;
	plinth_worker_rotation_report(&column->names, error);
	pause_column(column, Min(pause_ms, ROTATION_MAX_RETRY_MS));
}

static void
pause_column(RotationColumn *column, int64 pause_ms)
{
	column->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause_ms);
}
