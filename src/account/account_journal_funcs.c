/*-------------------------------------------------------------------------
 *
 * account_journal_funcs.c
 *		The security journal's SQL face.
 *
 * EXECUTE on all of these is for plinth_owner, whose functions in schema
 * auth decide what is a failure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_internal.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"

/* "commit_" and this much fit a name. */
#define KIND_LENGTH_MAX 24

/* Entries that are kept free for those who have passed the check. */
#define HEADROOM_DIVISOR 4

/* What counts towards a lock-out. */
#define FAILURE_KIND "failure"

static Datum make_times(const TimestampTz *times, int count);

/*
 * plinth.auth_journal(kind text, user_id uuid, subject uuid) -> boolean
 *
 * Put an entry and wait until it is committed: see account.h.
 *
 * Errors: 22023 kind NULL or of another form; 53000 the journal is full; 55000
 * the library is not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_journal);
Datum
plinth_sql_account_journal(PG_FUNCTION_ARGS)
{
	char *kind =
		PG_ARGISNULL(0) ? pstrdup("") : text_to_cstring(PG_GETARG_TEXT_PP(0));
	size_t length = strlen(kind);

	if (length == 0 || length > KIND_LENGTH_MAX ||
		strspn(kind, "abcdefghijklmnopqrstuvwxyz_") != length)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid kind of journal entry \"%s\"", kind)));

	PG_RETURN_BOOL(plinth_account_journal_put(
		kind, PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1),
		PG_ARGISNULL(2) ? NULL : PG_GETARG_UUID_P(2)));
}

/*
 * plinth.auth_journal_ready() -> void
 *
 * Refuse an attempt before anything is looked at, when it might find no room
 * in the journal: else a full journal would let passwords be tried uncounted.
 *
 * Errors: 53000 less than a quarter of the journal is free, and fewer entries
 * than there can be connections; 55000 the library is not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_journal_ready);
Datum
plinth_sql_account_journal_ready(PG_FUNCTION_ARGS)
{
	uint32 headroom =
		Min(MaxBackends, plinth_account_journal_entries / HEADROOM_DIVISOR);

	plinth_account_journal_require();
	if (pg_atomic_read_u32(&plinth_account_journal_shared->pending) + headroom >
		(uint32) plinth_account_journal_entries)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("the security journal is full"),
				 errdetail("Of its %d entries the last %u are kept for attempts "
						   "that have begun.",
						   plinth_account_journal_entries, headroom),
				 errhint("See plinth.stat_workers for what keeps the upkeep "
						 "worker of a database from its work.")));

	PG_RETURN_VOID();
}

/*
 * plinth.auth_journal_pending(kind text, subject uuid) -> integer
 *
 * How many entries no table shows yet: of the kind and about the subject,
 * where they are not NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_journal_pending);
Datum
plinth_sql_account_journal_pending(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(plinth_account_journal_count(
		PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)),
		PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1)));
}

/*
 * plinth.auth_source() -> inet
 *
 * What the caller's address counts as: an IPv4 address, also where IPv6
 * carries it, or the /64 of an IPv6 address; NULL when it is unknown.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_source);
Datum
plinth_sql_account_source(PG_FUNCTION_ARGS)
{
	JournalAddress address;

	plinth_account_journal_caller(&address);
	if (address.size == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(plinth_account_journal_inet(&address, true));
}

/*
 * plinth.auth_lock_ends(user_id uuid) -> timestamptz or NULL
 *
 * Until when sign-ins from the caller's source to an account have to wait,
 * by the tables as they are at this moment, whatever the transaction's
 * snapshot, and by the entries that no table shows yet.  user_id NULL stands
 * for all addresses without an account.  The rule is auth.lock_ends().
 *
 * Errors: 55000 the library is not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_lock_ends);
Datum
plinth_sql_account_lock_ends(PG_FUNCTION_ARGS)
{
	pg_uuid_t *user_id = PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0);
	Oid types[] = {UUIDOID, INETOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID};
	Datum values[lengthof(types)];
	char nulls[lengthof(types)] = {' ', ' ', ' ', ' '};
	JournalShared *journal = plinth_account_journal_shared;
	JournalAddress caller;
	TimestampTz *from_source;
	TimestampTz *from_all;
	int source_count = 0;
	int all_count = 0;
	Datum result;
	TimestampTz ends = 0;
	bool is_null;

	plinth_account_journal_require();
	plinth_account_journal_caller(&caller);

	/*
	 * The journal first, the tables after it: an entry that has left the one
	 * by now is seen in the other.
	 */
	from_source = palloc(sizeof(TimestampTz) * plinth_account_journal_entries);
	from_all = palloc(sizeof(TimestampTz) * plinth_account_journal_entries);
	LWLockAcquire(journal->lock, LW_SHARED);
	for (uint32 i = 0; i < journal->bound; i++)
	{
		const JournalEntry *entry = &journal->entries[i];

		if (entry->at == 0 || entry->database != MyDatabaseId ||
			strcmp(entry->kind, FAILURE_KIND) != 0 ||
			entry->has_user != (user_id != NULL) ||
			(user_id != NULL &&
			 memcmp(&entry->user_id, user_id, sizeof(*user_id)) != 0))
			continue;
		from_all[all_count++] = entry->at;
		if (plinth_account_journal_same_source(&entry->address, &caller))
			from_source[source_count++] = entry->at;
	}
	LWLockRelease(journal->lock);

	if (user_id == NULL)
		nulls[0] = 'n';
	values[0] = UUIDPGetDatum(user_id);
	values[1] = plinth_account_journal_inet(&caller, true);
	if (caller.size == 0)
		nulls[1] = 'n';
	values[2] = make_times(from_source, source_count);
	values[3] = make_times(from_all, all_count);

	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_with_args("SELECT auth.lock_ends($1, $2, $3, $4)",
							  lengthof(types), types, values, nulls, true,
							  1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not call auth.lock_ends()");
	result =
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (!is_null)
		ends = DatumGetTimestampTz(result);
	PopActiveSnapshot();
	SPI_finish();

	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(ends);
}

static Datum
make_times(const TimestampTz *times, int count)
{
	Datum *values = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		values[i] = TimestampTzGetDatum(times[i]);
	return PointerGetDatum(construct_array(values, count, TIMESTAMPTZOID,
										   sizeof(TimestampTz), FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}
