/*-------------------------------------------------------------------------
 *
 * account_password.c
 *		Password hashes, and how many may be computed at once.
 *
 * Hashes are argon2id strings of libsodium (RFC 9106; the string form is
 * that of the reference implementation).  One costs plinth.password_memory
 * and a core for its whole time and cannot be interrupted, so that
 *
 *	- the settings and the parameters of a stored string have upper limits
 *	  that keep one computation well below a second (S3.3);
 *	- not more than plinth.password_hash_slots run in the cluster; who finds
 *	  no slot free for 50 ms is refused.
 *
 * Locking: in_use is atomic; a backend adds itself by compare-and-exchange
 * and takes itself away after the hash.  Nothing between the two can raise
 * an error or serve an interrupt, so no slot is lost to error, cancel or
 * termination; a backend that crashes resets shared memory.  Waiters sleep on
 * the condition variable.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_internal.h"

#include <sodium.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/settings.h"
#include "claims/claims.h"

/* Memory in kB and passes: the least is S3.1's, the most keeps S3.3's time. */
#define MEMORY_MIN (19 * 1024)
#define MEMORY_DEFAULT (64 * 1024)
#define MEMORY_MAX (128 * 1024)
#define PASSES_MIN 2
#define PASSES_MAX 4
#define SLOTS_DEFAULT 4
#define SLOTS_MAX 1024

#define SLOT_WAIT_MS 50

/* 16 and 32 zero bytes in the alphabet of the string. */
#define DECOY_SALT "AAAAAAAAAAAAAAAAAAAAAA"
#define DECOY_HASH "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

typedef struct AccountShared
{
	pg_atomic_uint32 in_use;	  /* hashes being computed */
	ConditionVariable slot_freed; /* signalled when one is done */
} AccountShared;

/* The parameters that stand in a hash. */
typedef struct HashCost
{
	unsigned int memory; /* kB */
	unsigned int passes;
} HashCost;

static int password_memory = MEMORY_DEFAULT;
static int password_passes = PASSES_MIN;
static int password_hash_slots = SLOTS_DEFAULT;
char *plinth_account_password_list = NULL;

/* NULL when the library was not preloaded. */
static AccountShared *account = NULL;

static bool is_revoked(const pg_uuid_t *session_id);
static bool read_cost(const char *hash, HashCost *cost);
static bool verify_bcrypt(const char *password, size_t length, const char *hash);
static void take_slot(void);
static void free_slot(void);
static void free_slot_at_end(int code, Datum arg);

/*
 * Define plinth.password_*, and make libsodium ready, once, from _PG_init().
 */
void
plinth_account_define_settings(void)
{
	if (sodium_init() < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not initialize libsodium")));

	plinth_claims_session_revoked = is_revoked;

	DefineCustomIntVariable("plinth.password_memory",
							"Sets the memory that one password hash takes.",
							"New hashes only; a password whose hash took less "
							"is hashed anew when it is next used.",
							&password_memory, MEMORY_DEFAULT, MEMORY_MIN,
							MEMORY_MAX, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable("plinth.password_passes",
							"Sets how often a password hash passes over its "
							"memory.",
							NULL, &password_passes, PASSES_MIN, PASSES_MIN,
							PASSES_MAX, PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("plinth.password_hash_slots",
							"Sets how many password hashes are computed at "
							"once in the cluster.",
							"Each may take the memory of "
							"\"plinth.password_memory\" and a core.",
							&password_hash_slots, SLOTS_DEFAULT, 1, SLOTS_MAX,
							PLINTH_PGC_START, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("plinth.journal_entries",
							"Sets the number of events that the security journal "
							"holds until they are committed.",
							"Each takes about 400 bytes of shared memory.",
							&plinth_account_journal_entries, 4096, 16,
							1024 * 1024, PLINTH_PGC_START, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("plinth.password_list",
							   "Sets the file of passwords that are refused.",
							   "One password a line; an empty string leaves "
							   "only the built-in list.",
							   &plinth_account_password_list, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

/*
 * Ask for the memory of the slots.
 */
void
plinth_account_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(AccountShared)));
	plinth_account_journal_shmem_request();
}

/*
 * Create the slots, or attach to them.  The caller holds AddinShmemInitLock.
 */
void
plinth_account_shmem_startup(void)
{
	bool found;

	Assert(LWLockHeldByMeInMode(AddinShmemInitLock, LW_EXCLUSIVE));

	account = ShmemInitStruct("plinth account", sizeof(AccountShared), &found);
	if (!found)
	{
		pg_atomic_init_u32(&account->in_use, 0);
		ConditionVariableInit(&account->slot_freed);
	}
	plinth_account_journal_shmem_startup();
}

/*
 * For the room claims: has a session been ended that its table still shows?
 */
static bool
is_revoked(const pg_uuid_t *session_id)
{
	return plinth_account_journal_count("revocation", session_id) > 0;
}

/*
 * Hash a password: see account.h.
 */
char *
plinth_account_hash(const char *password, size_t length)
{
	char *hash = palloc(crypto_pwhash_STRBYTES);
	int failed;

	Assert(length <= ACCOUNT_PASSWORD_MAX);

	take_slot();
	failed = crypto_pwhash_str_alg(hash, password, length, password_passes,
								   (size_t) password_memory * 1024,
								   crypto_pwhash_ALG_ARGON2ID13);
	free_slot();

	if (failed)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("could not compute a password hash"),
						errdetail("It takes %d kB of memory.", password_memory)));

	return hash;
}

/*
 * Verify a password: see account.h.
 */
bool
plinth_account_verify(const char *password, size_t length, const char *hash)
{
	/* libsodium reads the whole of an array of this size. */
	char known[crypto_pwhash_STRBYTES] = {0};
	HashCost cost;
	bool decoy = true;
	bool matches;
	int failure;

	if (hash != NULL && length <= ACCOUNT_PASSWORD_MAX &&
		plinth_account_bcrypt_form(hash))
		return verify_bcrypt(password, length, hash);

	if (hash != NULL)
	{
		if (read_cost(hash, &cost) && cost.memory <= MEMORY_MAX &&
			cost.passes <= PASSES_MAX && strlen(hash) < sizeof(known))
			decoy = false;
		else
			ereport(LOG, (errmsg("a stored password hash cannot be checked"),
						  errdetail("It is no argon2id string of at most %d kB "
									"and %d passes, and no bcrypt string of "
									"a cost from 4 to 14.",
									MEMORY_MAX, PASSES_MAX)));
	}

	/*
	 * A string of the right form that no password has (but for one chance in
	 * 2^256, which "decoy" rules out) takes as long as a true one.
	 */
	if (decoy)
		snprintf(known, sizeof(known),
				 "$argon2id$v=19$m=%d,t=%d,p=1$" DECOY_SALT "$" DECOY_HASH,
				 password_memory, password_passes);
	else
		strlcpy(known, hash, sizeof(known));

	if (length > ACCOUNT_PASSWORD_MAX)
	{
		/* Nobody has such a password; no time is spent on its tail. */
		length = ACCOUNT_PASSWORD_MAX;
		decoy = true;
	}

	take_slot();
	errno = 0;
	matches = crypto_pwhash_str_verify(known, password, length) == 0;
	failure = errno;
	free_slot();

	if (!matches && failure == ENOMEM)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("could not compute a password hash"),
						errdetail("It takes %d kB of memory.", password_memory)));

	return matches && !decoy;
}

/*
 * Is a hash weaker than those made now: see account.h.
 */
bool
plinth_account_outdated(const char *hash)
{
	HashCost cost;

	return !read_cost(hash, &cost) ||
		   cost.memory < (unsigned int) password_memory ||
		   cost.passes < (unsigned int) password_passes;
}

/*
 * Read the parameters of an argon2id string of the current version, with one
 * lane, as libsodium makes them.
 */
static bool
read_cost(const char *hash, HashCost *cost)
{
	int end = 0;

	/* Nine digits fit the type. */
	return sscanf(hash, "$argon2id$v=19$m=%9u,t=%9u,p=1$%n", &cost->memory,
				  &cost->passes, &end) == 2 &&
		   end > 0;
}

/*
 * As plinth_account_verify(), for a bcrypt string.  It runs in a slot like any
 * hash; other than libsodium's it may end in an error, or end the process.
 */
static bool
verify_bcrypt(const char *password, size_t length, const char *hash)
{
	bool matches;

	take_slot();
	PG_ENSURE_ERROR_CLEANUP(free_slot_at_end, (Datum) 0);
	{
		matches = plinth_account_bcrypt_verify(password, length, hash);
	}
	PG_END_ENSURE_ERROR_CLEANUP(free_slot_at_end, (Datum) 0);
	free_slot();

	return matches;
}

/*
 * Wait up to SLOT_WAIT_MS for the right to compute a hash.
 */
static void
take_slot(void)
{
	TimestampTz deadline;
	bool taken = false;

	if (account == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("passwords cannot be hashed without preloading plinth"),
				 errdetail("What bounds the hashes computed at once is in "
						   "shared memory."),
				 errhint(PLINTH_PREFLIGHT_HINT)));

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SLOT_WAIT_MS);
	for (;;)
	{
		uint32 in_use = pg_atomic_read_u32(&account->in_use);
		long left;

		while (in_use < (uint32) password_hash_slots && !taken)
			taken = pg_atomic_compare_exchange_u32(&account->in_use, &in_use,
												   in_use + 1);
		if (taken)
			break;

		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left <= 0)
			break;
		/* The first call only prepares and returns at once, to look again. */
		ConditionVariableTimedSleep(&account->slot_freed, left,
									plinth_wait_event("PlinthHashSlot"));
	}
	ConditionVariableCancelSleep();

	if (!taken)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not compute a password hash now"),
				 errdetail("All %d hash slots were in use for %d ms.",
						   password_hash_slots, SLOT_WAIT_MS),
				 errhint("Try again, or increase \"plinth.password_hash_slots\" "
						 "where memory and cores allow it.")));
}

/*
 * Give the slot back and wake one who waits for it.
 */
static void
free_slot(void)
{
	pg_atomic_fetch_sub_u32(&account->in_use, 1);
	ConditionVariableSignal(&account->slot_freed);
}

static void
free_slot_at_end(int code, Datum arg)
{
	free_slot();
}
