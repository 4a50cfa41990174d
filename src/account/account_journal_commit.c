/*-------------------------------------------------------------------------
 *
 * account_journal_commit.c
 *		The upkeep worker's part of the security journal.
 *
 * Each entry is committed by a function of the module auth, in a
 * subtransaction of its own, so that one that cannot be committed stops no
 * other.  A caller who waits may hold the locks that are needed: nothing
 * here waits longer than LOCK_WAIT for a lock.  An entry that fails is tried
 * again after a while, and so are later ones of the same user, which keeps
 * each user's in order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_internal.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "base/subtransaction.h"

/* Entries in one transaction. */
#define BATCH_ENTRIES 64

#define LOCK_WAIT "20ms"

/* After the first failure; doubled each time, up to the second. */
#define RETRY_MS 100
#define RETRY_MOST_DOUBLINGS 6

/* Of the failures of one entry, that many for one line of the log. */
#define LOG_EVERY 100

typedef enum BatchOutcome
{
	BATCH_PUT_OFF, /* an earlier one of the same user has failed */
	BATCH_FAILED,
	BATCH_DONE
} BatchOutcome;

typedef struct BatchEntry
{
	JournalEntry entry;
	bool waits; /* for an earlier one of its user, which is not due yet */
	BatchOutcome outcome;
} BatchEntry;

/* What the transaction at work is about. */
static BatchEntry batch[BATCH_ENTRIES];
static int batch_count = 0;

static void take_batch(void);
static int compare_times(const void *a, const void *b);
static void set_local(const char *name, const char *value);
static bool follows_a_failure(int index);
static BatchOutcome commit_entry(const JournalEntry *entry);
static bool can_be_committed(const JournalEntry *entry);
static void call_commit_function(void *arg);

/* Of auth.commit_<kind>(). */
static const Oid commit_types[] = {UUIDOID, UUIDOID, INETOID,
								   INETOID, TEXTOID, TIMESTAMPTZOID};

long
plinth_account_journal_due(long most)
{
	JournalShared *journal = plinth_account_journal_shared;
	TimestampTz now;
	TimestampTz due;

	if (journal == NULL || pg_atomic_read_u32(&journal->pending) == 0)
		return most;

	now = GetCurrentTimestamp();
	due = TimestampTzPlusMilliseconds(now, most);
	LWLockAcquire(journal->lock, LW_SHARED);
	for (uint32 i = 0; i < journal->bound; i++)
		if (journal->entries[i].at != 0 &&
			journal->entries[i].database == MyDatabaseId)
			due = Min(due, journal->entries[i].retry_at);
	LWLockRelease(journal->lock);

	return TimestampDifferenceMilliseconds(now, due);
}

void
plinth_account_journal_commit(void *arg)
{
	Oid saved_user;
	int saved_context;

	take_batch();
	if (batch_count == 0)
		return;

	set_local("lock_timeout", LOCK_WAIT);
	/* what has been waited for must outlive a crash */
	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
		set_local("synchronous_commit", "local");

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   saved_context | SECURITY_LOCAL_USERID_CHANGE);
	for (int i = 0; i < batch_count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		batch[i].outcome = follows_a_failure(i) ? BATCH_PUT_OFF
												: commit_entry(&batch[i].entry);
	}
	SetUserIdAndSecContext(saved_user, saved_context);
}

void
plinth_account_journal_committed(bool done)
{
	JournalShared *journal = plinth_account_journal_shared;
	TimestampTz now = GetCurrentTimestamp();

	if (batch_count == 0)
		return;

	LWLockAcquire(journal->lock, LW_EXCLUSIVE);
	for (int i = 0; i < batch_count; i++)
		for (uint32 j = 0; j < journal->bound; j++)
		{
			JournalEntry *entry = &journal->entries[j];

			if (entry->at != batch[i].entry.at ||
				entry->database != batch[i].entry.database)
				continue;
			if (done && batch[i].outcome == BATCH_DONE)
				plinth_account_journal_free_locked(entry);
			else
			{
				entry->retry_at = TimestampTzPlusMilliseconds(
					now, RETRY_MS << Min(entry->attempts, RETRY_MOST_DOUBLINGS));
				if (batch[i].outcome != BATCH_PUT_OFF)
					entry->attempts++;
			}
			break;
		}
	LWLockRelease(journal->lock);
	batch_count = 0;

	ConditionVariableBroadcast(&journal->committed);
}

/*
 * Copy the oldest entries of this database that are due.
 */
static void
take_batch(void)
{
	JournalShared *journal = plinth_account_journal_shared;
	TimestampTz now = GetCurrentTimestamp();
	JournalEntry *due;
	uint32 room;
	uint32 count = 0;

	batch_count = 0;
	room = pg_atomic_read_u32(&journal->pending);
	if (room == 0)
		return;
	due = palloc(sizeof(JournalEntry) * room);

	LWLockAcquire(journal->lock, LW_SHARED);
	for (uint32 i = 0; i < journal->bound && count < room; i++)
		if (journal->entries[i].at != 0 &&
			journal->entries[i].database == MyDatabaseId)
			due[count++] = journal->entries[i];
	LWLockRelease(journal->lock);

	qsort(due, count, sizeof(JournalEntry), compare_times);
	for (uint32 i = 0; i < count && batch_count < BATCH_ENTRIES; i++)
	{
		bool waits = false;

		if (due[i].retry_at > now)
			continue;
		for (uint32 j = 0; j < i && !waits; j++)
			waits =
				due[j].retry_at > now && due[j].has_user && due[i].has_user &&
				memcmp(&due[j].user_id, &due[i].user_id, sizeof(pg_uuid_t)) == 0;
		batch[batch_count].entry = due[i];
		batch[batch_count].waits = waits;
		batch[batch_count].outcome = BATCH_PUT_OFF;
		batch_count++;
	}
	pfree(due);
}

static int
compare_times(const void *a, const void *b)
{
	TimestampTz left = ((const JournalEntry *) a)->at;
	TimestampTz right = ((const JournalEntry *) b)->at;

	return left < right ? -1 : left > right;
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

static bool
follows_a_failure(int index)
{
	const JournalEntry *entry = &batch[index].entry;

	if (batch[index].waits)
		return true;
	for (int i = 0; i < index && entry->has_user; i++)
		if (batch[i].outcome != BATCH_DONE && batch[i].entry.has_user &&
			memcmp(&batch[i].entry.user_id, &entry->user_id,
				   sizeof(pg_uuid_t)) == 0)
			return true;
	return false;
}

/*
 * Commit one entry, in a subtransaction.
 */
static BatchOutcome
commit_entry(const JournalEntry *entry)
{
	ErrorData *error;

	if (!can_be_committed(entry))
	{
		ereport(LOG, (errmsg("dropped an entry of the security journal"),
					  errdetail("There is no function auth.commit_%s().",
								entry->kind)));
		return BATCH_DONE;
	}

	error = plinth_try(call_commit_function, unconstify(JournalEntry *, entry));
	if (error == NULL)
		return BATCH_DONE;

	/* A caller who waits may have the lock: that is worth no word. */
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		entry->attempts % LOG_EVERY == 0)
		ereport(LOG, (errcode(error->sqlerrcode),
					  errmsg("could not commit an entry of the security "
							 "journal: %s",
							 error->message),
					  errdetail("It acts all the same, and is tried again.")));
	FreeErrorData(error);

	return BATCH_FAILED;
}

static bool
can_be_committed(const JournalEntry *entry)
{
	List *name = list_make2(makeString(pstrdup("auth")),
							makeString(psprintf("commit_%s", entry->kind)));

	return OidIsValid(
		LookupFuncName(name, lengthof(commit_types), commit_types, true));
}

/*
 * auth.commit_<kind>(user_id, subject, address, source, user_agent,
 * happened_at).
 */
static void
call_commit_function(void *arg)
{
	const JournalEntry *entry = arg;
	Oid types[lengthof(commit_types)];
	Datum values[lengthof(types)];
	char nulls[lengthof(types)];
	char *query = psprintf("SELECT auth.%s($1, $2, $3, $4, $5, $6)",
						   quote_identifier(psprintf("commit_%s", entry->kind)));

	memcpy(types, commit_types, sizeof(types));
	memset(nulls, ' ', sizeof(nulls));
	values[0] = UUIDPGetDatum(&entry->user_id);
	values[1] = UUIDPGetDatum(&entry->subject);
	values[2] = plinth_account_journal_inet(&entry->address, false);
	values[3] = plinth_account_journal_inet(&entry->address, true);
	values[4] = CStringGetTextDatum(entry->user_agent);
	values[5] = TimestampTzGetDatum(entry->at);
	if (!entry->has_user)
		nulls[0] = 'n';
	if (!entry->has_subject)
		nulls[1] = 'n';
	if (entry->address.size == 0)
		nulls[2] = nulls[3] = 'n';
	if (entry->user_agent[0] == '\0')
		nulls[4] = 'n';

	if (SPI_execute_with_args(query, lengthof(types), types, values, nulls,
							  false, 0) < 0)
		elog(ERROR, "could not call auth.commit_%s()", entry->kind);
}
