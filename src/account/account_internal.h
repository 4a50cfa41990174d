/*-------------------------------------------------------------------------
 *
 * account_internal.h
 *		The security journal, which several files of this room share.
 *
 * Locking: journal->lock guards every entry and next_serial.  "pending" is
 * changed under it and read without it, to spare a check the lock when there
 * is nothing to see.  The lock is held for a look through the entries in use,
 * never across a wait, an allocation or an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ACCOUNT_INTERNAL_H
#define PLINTH_ACCOUNT_INTERNAL_H

#include "account/account.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

/* Bytes of a kind's name, and what is kept of a user agent. */
#define JOURNAL_KIND_SIZE 32
#define JOURNAL_AGENT_SIZE 256

/* An address of four or sixteen bytes; size 0 when it is unknown. */
typedef struct JournalAddress
{
	uint8 size;
	uint8 bytes[16];
} JournalAddress;

/*
 * What has happened.  The same layout is written to the file that keeps
 * entries over a restart; absent members are all zero.
 */
typedef struct JournalEntry
{
	/*
	 * When it happened, and which entry it is: no two have the same time.
	 * 0 when the entry is free.
	 */
	TimestampTz at;
	Oid database;
	char kind[JOURNAL_KIND_SIZE];
	bool has_user;
	bool has_subject;
	pg_uuid_t user_id;
	pg_uuid_t subject;
	JournalAddress address;
	char user_agent[JOURNAL_AGENT_SIZE]; /* in the encoding of the database */
	TimestampTz retry_at;				 /* not to be committed before */
	int32 attempts;						 /* to commit it, that failed */
} JournalEntry;

typedef struct JournalShared
{
	LWLock *lock;
	ConditionVariable committed; /* broadcast when entries have left */
	TimestampTz last_at;		 /* of the newest entry there was */
	pg_atomic_uint32 pending;	 /* entries in use */
	uint32 bound;				 /* no entry at or beyond this one is in use */
	JournalEntry entries[FLEXIBLE_ARRAY_MEMBER];
} JournalShared;

/* Link to shared memory; NULL when the library was not preloaded. */
extern JournalShared *plinth_account_journal_shared;
extern int plinth_account_journal_entries; /* plinth.journal_entries */

/* account_journal.c */
extern void plinth_account_journal_shmem_request(void);
extern void plinth_account_journal_shmem_startup(void);
extern void plinth_account_journal_require(void);
extern bool plinth_account_journal_same_source(const JournalAddress *a,
											   const JournalAddress *b);
extern void plinth_account_journal_caller(JournalAddress *address);
extern Datum plinth_account_journal_inet(const JournalAddress *address,
										 bool source);
extern void plinth_account_journal_free_locked(JournalEntry *entry);

/* account_journal_save.c; in the postmaster */
extern void plinth_account_journal_load(void);

/* account_bcrypt.c: see there */
extern bool plinth_account_bcrypt_form(const char *hash);
extern bool plinth_account_bcrypt_verify(const char *password, size_t length,
										 const char *hash);

#endif /* PLINTH_ACCOUNT_INTERNAL_H */
