/*-------------------------------------------------------------------------
 *
 * account_journal.c
 *		The security journal: what stands although the caller rolls back.
 *
 * A failed sign-in is raised as an error, and the error undoes whatever the
 * caller's transaction has written about it.  So the caller puts an entry into
 * shared memory, where it acts at once, lets the upkeep worker commit it,
 * and only then raises (S3.5, S3.7).  The caller may hold locks that the
 * worker needs: the worker gives such an entry up after a moment and comes
 * back to it, the caller waits a second at most, and the entry acts meanwhile.
 *
 * The time of an entry is its name: no two have the same, and they rise, so
 * that a reader who has seen both the journal and a table can tell which
 * entries that table already has.
 *
 * The locking rule is in account_internal.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_internal.h"

#include <arpa/inet.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "claims/claims.h"

#define JOURNAL_TRANCHE "plinth_journal"
#define JOURNAL_WAIT_MS 1000

/* Of an IPv6 address this much says where somebody comes from (S7.5). */
#define SOURCE_BYTES_IPV6 8

JournalShared *plinth_account_journal_shared = NULL;
int plinth_account_journal_entries = 4096;
void (*plinth_account_journal_wake)(Oid database) = NULL;

static TimestampTz put_entry(const JournalEntry *entry);
static bool wait_until_committed(TimestampTz at);
static bool is_pending(TimestampTz at);

/*
 * Ask for the memory and the lock.
 */
void
plinth_account_journal_shmem_request(void)
{
	RequestAddinShmemSpace(add_size(
		offsetof(JournalShared, entries),
		mul_size(plinth_account_journal_entries, sizeof(JournalEntry))));
	RequestNamedLWLockTranche(JOURNAL_TRANCHE, 1);
}

/*
 * Create the journal, with what the last clean shutdown has left, or attach
 * to it.  The caller holds AddinShmemInitLock.
 */
void
plinth_account_journal_shmem_startup(void)
{
	Size size =
		add_size(offsetof(JournalShared, entries),
				 mul_size(plinth_account_journal_entries, sizeof(JournalEntry)));
	bool found;

	plinth_account_journal_shared =
		ShmemInitStruct("plinth journal", size, &found);
	if (found)
		return;

	memset(plinth_account_journal_shared, 0, size);
	plinth_account_journal_shared->lock =
		&(GetNamedLWLockTranche(JOURNAL_TRANCHE))->lock;
	ConditionVariableInit(&plinth_account_journal_shared->committed);
	pg_atomic_init_u32(&plinth_account_journal_shared->pending, 0);
	plinth_account_journal_load();
}

/*
 * Refuse to go on without the journal.
 */
void
plinth_account_journal_require(void)
{
	if (plinth_account_journal_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no security journal without preloading plinth"),
				 errdetail("Failed attempts are counted in shared memory."),
				 errhint(PLINTH_PREFLIGHT_HINT)));
}

bool
plinth_account_journal_put(const char *kind, const pg_uuid_t *user_id,
						   const pg_uuid_t *subject)
{
	JournalEntry entry;
	char *agent = plinth_claims_user_agent();
	TimestampTz at;

	plinth_account_journal_require();
	Assert(strlen(kind) < JOURNAL_KIND_SIZE);

	memset(&entry, 0, sizeof(entry));
	entry.database = MyDatabaseId;
	strlcpy(entry.kind, kind, sizeof(entry.kind));
	if (user_id != NULL)
	{
		entry.has_user = true;
		entry.user_id = *user_id;
	}
	if (subject != NULL)
	{
		entry.has_subject = true;
		entry.subject = *subject;
	}
	plinth_account_journal_caller(&entry.address);
	if (agent != NULL)
		memcpy(entry.user_agent, agent,
			   pg_mbcliplen(agent, strlen(agent), JOURNAL_AGENT_SIZE - 1));

	at = put_entry(&entry);
	if (at == 0)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("the security journal is full"),
						errdetail("All %d entries wait to be committed.",
								  plinth_account_journal_entries),
						errhint("See plinth.stat_workers for what keeps the upkeep "
								"worker of a database from its work.")));
	if (plinth_account_journal_wake != NULL)
		plinth_account_journal_wake(MyDatabaseId);

	return wait_until_committed(at);
}

int
plinth_account_journal_count(const char *kind, const pg_uuid_t *subject)
{
	JournalShared *journal = plinth_account_journal_shared;
	int count = 0;

	if (journal == NULL || pg_atomic_read_u32(&journal->pending) == 0)
		return 0;

	LWLockAcquire(journal->lock, LW_SHARED);
	for (uint32 i = 0; i < journal->bound; i++)
	{
		const JournalEntry *entry = &journal->entries[i];

		if (entry->at != 0 && entry->database == MyDatabaseId &&
			(kind == NULL || strcmp(entry->kind, kind) == 0) &&
			(subject == NULL ||
			 (entry->has_subject &&
			  memcmp(&entry->subject, subject, sizeof(pg_uuid_t)) == 0)))
			count++;
	}
	LWLockRelease(journal->lock);

	return count;
}

void
plinth_account_journal_forget(Oid database)
{
	JournalShared *journal = plinth_account_journal_shared;

	if (journal == NULL)
		return;
	LWLockAcquire(journal->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < journal->bound; i++)
		if (journal->entries[i].at != 0 &&
			journal->entries[i].database == database)
			plinth_account_journal_free_locked(&journal->entries[i]);
	LWLockRelease(journal->lock);
}

/*
 * Take an entry out.
 */
void
plinth_account_journal_free_locked(JournalEntry *entry)
{
	JournalShared *journal = plinth_account_journal_shared;

	entry->at = 0;
	pg_atomic_fetch_sub_u32(&journal->pending, 1);
	while (journal->bound > 0 && journal->entries[journal->bound - 1].at == 0)
		journal->bound--;
}

/*
 * Where the caller comes from.  An IPv4 address that IPv6 carries is the same
 * as by itself.
 */
void
plinth_account_journal_caller(JournalAddress *address)
{
	static const uint8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	char *text = plinth_claims_client_address();
	inet *value;

	memset(address, 0, sizeof(*address));
	if (text == NULL)
		return;
	value = DatumGetInetPP(DirectFunctionCall1(inet_in, CStringGetDatum(text)));
	address->size = ip_addrsize(value);
	memcpy(address->bytes, ip_addr(value), address->size);
	if (address->size == 16 && memcmp(address->bytes, mapped, 12) == 0)
	{
		address->size = 4;
		memmove(address->bytes, address->bytes + 12, 4);
		memset(address->bytes + 4, 0, 12);
	}
}

/*
 * Do two addresses count as one source: an IPv4 address, or an IPv6 network
 * of 64 bits.  All unknown ones are one.
 */
bool
plinth_account_journal_same_source(const JournalAddress *a,
								   const JournalAddress *b)
{
	return a->size == b->size &&
		   memcmp(a->bytes, b->bytes,
				  a->size == 16 ? SOURCE_BYTES_IPV6 : a->size) == 0;
}

/*
 * An address, or the source that it counts as, as inet; (Datum) 0, for NULL,
 * when it is unknown.
 */
Datum
plinth_account_journal_inet(const JournalAddress *address, bool source)
{
	JournalAddress shown = *address;
	char text[INET6_ADDRSTRLEN + 4];

	if (address->size == 0)
		return (Datum) 0;
	if (source && address->size == 16)
		memset(shown.bytes + SOURCE_BYTES_IPV6, 0, 16 - SOURCE_BYTES_IPV6);
	if (inet_ntop(shown.size == 4 ? AF_INET : AF_INET6, shown.bytes, text,
				  INET6_ADDRSTRLEN) == NULL)
		elog(ERROR, "could not write an address");
	if (source && address->size == 16)
		strcat(text, "/64");
	return DirectFunctionCall1(inet_in, CStringGetDatum(text));
}

/*
 * Put an entry where there is room and give it its time, which is returned; 0
 * when there is no room.
 */
static TimestampTz
put_entry(const JournalEntry *entry)
{
	JournalShared *journal = plinth_account_journal_shared;
	TimestampTz at = 0;

	LWLockAcquire(journal->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < (uint32) plinth_account_journal_entries; i++)
	{
		if (journal->entries[i].at != 0)
			continue;
		at = Max(GetCurrentTimestamp(), journal->last_at + 1);
		journal->last_at = at;
		journal->entries[i] = *entry;
		journal->entries[i].at = at;
		journal->bound = Max(journal->bound, i + 1);
		pg_atomic_fetch_add_u32(&journal->pending, 1);
		break;
	}
	LWLockRelease(journal->lock);

	return at;
}

/*
 * Wait until the entry has left the journal, at most JOURNAL_WAIT_MS.
 */
static bool
wait_until_committed(TimestampTz at)
{
	JournalShared *journal = plinth_account_journal_shared;
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), JOURNAL_WAIT_MS);
	bool pending;

	for (;;)
	{
		long left;

		pending = is_pending(at);
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (!pending || left <= 0)
			break;
		/* The first call only prepares and returns at once, to look again. */
		ConditionVariableTimedSleep(&journal->committed, left,
									plinth_wait_event("PlinthJournalCommit"));
	}
	ConditionVariableCancelSleep();

	return !pending;
}

static bool
is_pending(TimestampTz at)
{
	JournalShared *journal = plinth_account_journal_shared;
	bool found = false;

	LWLockAcquire(journal->lock, LW_SHARED);
	for (uint32 i = 0; i < journal->bound && !found; i++)
		found = journal->entries[i].at == at;
	LWLockRelease(journal->lock);

	return found;
}
