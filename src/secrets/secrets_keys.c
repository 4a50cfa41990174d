/*-------------------------------------------------------------------------
 *
 * secrets_keys.c
 *		The keyring of the running server.
 *
 * Keys are not in shared memory.  Each process that needs one reads the file
 * into memory of its own, locked against swapping, left out of core dumps and
 * wiped when it is freed.  It reads again when the generation has moved on
 * (another process of this server has replaced the file), and, looking at
 * most once a second, when the file is another one (an administrator has
 * replaced it; so it goes on a standby).
 *
 * Locking: secrets->lock is held exclusively from reading the file to
 * replacing it, by whoever changes the keyring; readers take no lock, since
 * the file is only ever replaced whole.  The generation is atomic and grows
 * after the file has been replaced.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <errno.h>
#include <sodium.h>

#include "base/compat.h"
#include "base/names.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define SECRETS_TRANCHE "plinth_secrets"

/* Microseconds between two looks at the file. */
#define LOOK_INTERVAL USECS_PER_SEC

typedef struct SecretsShared
{
	LWLock *lock;				 /* held to replace the file */
	pg_atomic_uint64 generation; /* of the file */
} SecretsShared;

static char *keyring = NULL; /* path of the file */

/* Link to shared memory; NULL when the library was not preloaded. */
static SecretsShared *secrets = NULL;

/* The keys as this process has read them, and from which file. */
static SecretsRing *loaded = NULL;
static uint64 loaded_generation = 0;
static struct stat loaded_status;
static TimestampTz next_look = 0;

static void make_when_missing(void);
static void try_lock_memory(void);
static const char *refresh(void);
static bool is_current(uint64 generation);
pg_noreturn static void refuse(const char *problem);

/*
 * Define plinth.keyring and start libsodium.  Called once, from _PG_init().
 */
void
plinth_secrets_define_settings(void)
{
	if (sodium_init() < 0)
		elog(ERROR, "could not initialize libsodium");

	DefineCustomStringVariable(
		"plinth.keyring", "Sets the file that holds the server's keys.",
		"Relative to the data directory; made at server start when it is missing.",
		&keyring, "plinth_keyring", PLINTH_PGC_START, GUC_SUPERUSER_ONLY, NULL,
		NULL, NULL);
}

void
plinth_secrets_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(SecretsShared)));
	RequestNamedLWLockTranche(SECRETS_TRANCHE, 1);
}

/*
 * Create the shared state, or attach to it; the postmaster makes the keyring.
 */
void
plinth_secrets_shmem_startup(void)
{
	bool found;

	secrets = ShmemInitStruct("plinth secrets", sizeof(SecretsShared), &found);
	if (found)
		return;

	secrets->lock = &(GetNamedLWLockTranche(SECRETS_TRANCHE))->lock;
	pg_atomic_init_u64(&secrets->generation, 1);
	if (!IsUnderPostmaster)
	{
		make_when_missing();
		try_lock_memory();
	}
}

const SecretsRing *
plinth_secrets_ring(void)
{
	const char *problem;

	if (secrets == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot use a key without a keyring"),
				 errdetail("The library is not in \"shared_preload_libraries\"."),
				 errhint(PLINTH_PREFLIGHT_HINT)));

	problem = refresh();
	if (problem != NULL)
		refuse(problem);

	return loaded;
}

const char *
plinth_secrets_try_ring(const SecretsRing **ring)
{
	const char *problem =
		secrets == NULL ? "The library is not in \"shared_preload_libraries\"."
						: refresh();

	*ring = problem == NULL ? loaded : NULL;
	return problem;
}

SecretsRing *
plinth_secrets_alloc(int count)
{
	SecretsRing *ring = sodium_malloc(SECRETS_RING_SIZE(count));

	if (ring != NULL)
		memset(ring, 0, SECRETS_RING_SIZE(count));

	return ring;
}

bool
plinth_secrets_change(int room, SecretsChange change, void *arg)
{
	SecretsRing *old = NULL;
	SecretsRing *ring = NULL;
	const char *problem;
	struct stat status;
	bool wanted = false;
	bool stored = true;

	/* says what is missing, if anything is */
	plinth_secrets_ring();

	LWLockAcquire(secrets->lock, LW_EXCLUSIVE);
	problem = plinth_secrets_load(keyring, &old, &status);
	if (problem == NULL &&
		(old->count + room > SECRETS_MAX_KEYS ||
		 (ring = plinth_secrets_alloc(old->count + room)) == NULL))
		problem = "There is no room for more keys.";
	if (problem == NULL)
	{
		memcpy(ring, old, SECRETS_RING_SIZE(old->count));
		wanted = change(ring, arg);
		if (wanted)
		{
			stored = plinth_secrets_store(keyring, ring);
			if (stored)
				pg_atomic_fetch_add_u64(&secrets->generation, 1);
		}
	}
	LWLockRelease(secrets->lock);

	if (old != NULL)
		sodium_free(old);
	if (ring != NULL)
		sodium_free(ring);

	if (problem != NULL)
		refuse(problem);
	if (!stored)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not replace the keyring"),
						errdetail("The server's log tells what went wrong.")));

	return wanted;
}

/*
 * At first start: make the keyring.  A server that recovers from a backup
 * would only make one that opens nothing, so there it is asked for instead.
 */
static void
make_when_missing(void)
{
	struct stat status;

	if (stat(keyring, &status) == 0)
	{
		if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
			ereport(
				LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("keyring \"%s\" will not be used", keyring),
				 errdetail(
					 "It has the mode %04o, which lets others than its owner at it.",
					 (unsigned) (status.st_mode & 07777)),
				 errhint(
					 "Consider its keys known to those others; chmod 0600 if they are not.")));
		return;
	}
	if (errno != ENOENT)
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not examine keyring \"%s\": %m", keyring)));
		return;
	}
	if (stat("standby.signal", &status) == 0 ||
		stat("recovery.signal", &status) == 0)
	{
		ereport(
			LOG,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("keyring \"%s\" is missing", keyring),
			 errhint("Copy it from the server that the backup was taken from.")));
		return;
	}

	if (plinth_secrets_make_first(keyring))
		ereport(LOG,
				(errmsg("made keyring \"%s\"", keyring),
				 errhint("Keep a copy of it apart from the database's backups.")));
}

/*
 * Say so once when the system does not let us lock memory: keys are then
 * used all the same, but may be written to swap space.
 */
static void
try_lock_memory(void)
{
	void *probe = malloc(SECRETS_RING_SIZE(1));

	if (probe == NULL)
		return;
	if (sodium_mlock(probe, SECRETS_RING_SIZE(1)) != 0)
		ereport(
			LOG,
			(errmsg("could not lock memory for keys: %m"),
			 errhint(
				 "Raise the limit of locked memory (ulimit -l) of the server's account.")));
	sodium_munlock(probe, SECRETS_RING_SIZE(1));
	free(probe);
}

/*
 * Read the keyring when what has been read is not what is there now.  Returns
 * NULL, or what is wrong.
 */
static const char *
refresh(void)
{
	uint64 generation = pg_atomic_read_u64(&secrets->generation);
	SecretsRing *ring;
	struct stat status;
	const char *problem;

	if (is_current(generation))
		return NULL;

	/* what was read before is gone, whatever comes of this attempt */
	if (loaded != NULL)
		sodium_free(loaded);
	loaded = NULL;

	problem = plinth_secrets_load(keyring, &ring, &status);
	if (problem != NULL)
		return problem;
	loaded = ring;
	loaded_status = status;
	loaded_generation = generation;
	next_look = GetCurrentTimestamp() + LOOK_INTERVAL;

	return NULL;
}

/*
 * Are the keys that this process has read those of the file?
 */
static bool
is_current(uint64 generation)
{
	TimestampTz now;
	struct stat status;

	if (loaded == NULL || loaded_generation != generation)
		return false;

	now = GetCurrentTimestamp();
	if (now < next_look && next_look - now <= LOOK_INTERVAL)
		return true;
	next_look = now + LOOK_INTERVAL;

	return stat(keyring, &status) == 0 && status.st_dev == loaded_status.st_dev &&
		   status.st_ino == loaded_status.st_ino &&
		   status.st_size == loaded_status.st_size &&
		   status.st_mode == loaded_status.st_mode &&
		   status.st_uid == loaded_status.st_uid &&
		   status.st_mtim.tv_sec == loaded_status.st_mtim.tv_sec &&
		   status.st_mtim.tv_nsec == loaded_status.st_mtim.tv_nsec;
}

static void
refuse(const char *problem)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("could not use the keyring"),
					errdetail_internal("%s", problem),
					errhint(PLINTH_PREFLIGHT_HINT)));
}
