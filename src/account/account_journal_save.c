/*-------------------------------------------------------------------------
 *
 * account_journal_save.c
 *		Keeps the entries that nobody has committed yet over a restart.
 *
 * A crash, an immediate shutdown or a restart after a crash saves nothing:
 * what was committed by then stands in the tables, and what was not is lost
 * (S7.7).  Entries are waited for, so that is only what happened in the last
 * moment, or while there was no worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_internal.h"

#include "access/xlog.h"
#include "storage/ipc.h"

#include "base/keep.h"

#define SAVE_FILE "plinth_journal"

/* Changes when the layout of an entry does. */
#define SAVE_MAGIC UINT64CONST(0x706c696e746a3031)

static uint64 system_identifier;

static void save_entries(int code, Datum arg);

/*
 * Take up what the last clean shutdown has left, and be called at the next.
 * Runs in the postmaster each time it makes shared memory; nobody else has
 * the journal yet.
 */
void
plinth_account_journal_load(void)
{
	JournalShared *journal = plinth_account_journal_shared;
	JournalEntry *saved;
	uint64 count;

	system_identifier = GetSystemIdentifier();
	saved = plinth_keep_read(SAVE_FILE, SAVE_MAGIC, system_identifier,
							 sizeof(JournalEntry), &count,
							 "Failed attempts that were not committed before "
							 "the shutdown are not counted.");
	for (uint64 i = 0; i < count; i++)
	{
		JournalEntry *entry;

		if (journal->bound == (uint32) plinth_account_journal_entries)
		{
			ereport(LOG, (errmsg("the security journal had more entries than "
								 "\"plinth.journal_entries\" now allows"),
						  errdetail("%d were kept of " UINT64_FORMAT ".",
									plinth_account_journal_entries, count)));
			break;
		}
		entry = &journal->entries[journal->bound++];
		*entry = saved[i];
		entry->kind[JOURNAL_KIND_SIZE - 1] = '\0';
		entry->user_agent[JOURNAL_AGENT_SIZE - 1] = '\0';
		entry->retry_at = 0;
		journal->last_at = Max(journal->last_at, entry->at);
		pg_atomic_fetch_add_u32(&journal->pending, 1);
	}
	if (saved != NULL)
		pfree(saved);

	on_shmem_exit(save_entries, (Datum) 0);
}

/*
 * Write what is left.  All other processes have gone, so no lock is taken.
 */
static void
save_entries(int code, Datum arg)
{
	JournalShared *journal = plinth_account_journal_shared;
	JournalEntry *saved;
	uint64 count = 0;

	if (pg_atomic_read_u32(&journal->pending) == 0 ||
		!plinth_keep_is_clean_shutdown())
		return;

	saved = palloc(sizeof(JournalEntry) * journal->bound);
	for (uint32 i = 0; i < journal->bound; i++)
		if (journal->entries[i].at != 0)
			saved[count++] = journal->entries[i];
	plinth_keep_write(SAVE_FILE, SAVE_MAGIC, system_identifier, saved,
					  sizeof(JournalEntry), count);
	pfree(saved);
}
