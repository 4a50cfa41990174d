/*-------------------------------------------------------------------------
 *
 * presence_shmem.c
 *		The memory of who is here, and what may be done under its lock.
 *
 * See presence_internal.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "presence/presence_internal.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "base/settings.h"

#define PRESENCE_TRANCHE "plinth presence"

/* Blocks for each entry; most have one. */
#define PRESENCE_BLOCKS_EACH 2

int plinth_presence_entries = 16384;
void (*plinth_presence_wake)(Oid database) = NULL;

PresenceShared *plinth_presence = NULL;
PresenceEntry *plinth_presence_table = NULL;
PresenceDatabase *plinth_presence_databases = NULL;
PresenceList *plinth_presence_topics = NULL;
PresenceList *plinth_presence_users = NULL;
pg_atomic_uint64 *plinth_presence_sessions = NULL;
static PresenceBlock *blocks = NULL;

static int bucket_count(void);
static int block_count(void);
static int session_count(void);
static void initialize(void);
static PresenceLink *link_of(PresenceEntry *entry, Size link);
static uint32 user_bucket(const pg_uuid_t *user_id);
static void free_blocks(PresenceEntry *entry);

/*
 * Define the room's settings.  Called once, from _PG_init().
 */
void
plinth_presence_define_settings(void)
{
	/* Sizes shared memory, so it is fixed once the server is up. */
	DefineCustomIntVariable(
		"plinth.presence_entries",
		"Sets the number of connections that can be present under topics at once.",
		"Each takes about one kilobyte of shared memory.",
		&plinth_presence_entries, 16384, 16, 1024 * 1024, PLINTH_PGC_START, 0,
		NULL, NULL, NULL);
}

/*
 * Ask for the memory and the lock.
 */
void
plinth_presence_shmem_request(void)
{
	Size size = MAXALIGN(sizeof(PresenceShared));

	size =
		add_size(size, mul_size(plinth_presence_entries, sizeof(PresenceEntry)));
	size = add_size(size, mul_size(block_count(), sizeof(PresenceBlock)));
	size = add_size(size, mul_size(2 * bucket_count(), sizeof(PresenceList)));
	size =
		add_size(size, mul_size(max_worker_processes, sizeof(PresenceDatabase)));
	size = add_size(size, mul_size(session_count(), sizeof(pg_atomic_uint64)));

	/* each structure is aligned on its own */
	size = add_size(size, 8 * PG_CACHE_LINE_SIZE);
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche(PRESENCE_TRANCHE, 1);
}

/*
 * Create the tables, or attach to them.  The caller holds AddinShmemInitLock.
 */
void
plinth_presence_shmem_startup(void)
{
	bool found;

	plinth_presence =
		ShmemInitStruct(PRESENCE_TRANCHE, sizeof(PresenceShared), &found);
	plinth_presence_table = ShmemInitStruct(
		"plinth presence entries",
		mul_size(plinth_presence_entries, sizeof(PresenceEntry)), &found);
	blocks =
		ShmemInitStruct("plinth presence blocks",
						mul_size(block_count(), sizeof(PresenceBlock)), &found);
	plinth_presence_topics =
		ShmemInitStruct("plinth presence topics",
						mul_size(bucket_count(), sizeof(PresenceList)), &found);
	plinth_presence_users =
		ShmemInitStruct("plinth presence users",
						mul_size(bucket_count(), sizeof(PresenceList)), &found);
	plinth_presence_databases = ShmemInitStruct(
		"plinth presence databases",
		mul_size(max_worker_processes, sizeof(PresenceDatabase)), &found);
	plinth_presence_sessions = ShmemInitStruct(
		"plinth presence sessions",
		mul_size(session_count(), sizeof(pg_atomic_uint64)), &found);
	if (!found)
		initialize();
}

/*
 * Nobody is here.
 */
static void
initialize(void)
{
	plinth_presence->lock = &(GetNamedLWLockTranche(PRESENCE_TRANCHE))->lock;
	if (!pg_strong_random(&plinth_presence->seed, sizeof(plinth_presence->seed)))
		ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	plinth_presence->mask = bucket_count() - 1;
	plinth_presence->ndatabases = max_worker_processes;
	plinth_presence->high_water = 0;
	plinth_presence->first_free = PRESENCE_NONE;
	plinth_presence->first_free_block = 0;
	plinth_presence->free_blocks = block_count();

	memset(plinth_presence_table, 0,
		   mul_size(plinth_presence_entries, sizeof(PresenceEntry)));
	for (int i = 0; i < block_count(); i++)
		blocks[i].next = i + 1 < block_count() ? i + 1 : PRESENCE_NONE;
	for (int i = 0; i < bucket_count(); i++)
		plinth_presence_topics[i] = plinth_presence_users[i] =
			(PresenceList){PRESENCE_NONE, PRESENCE_NONE};
	memset(plinth_presence_databases, 0,
		   mul_size(max_worker_processes, sizeof(PresenceDatabase)));
	for (int i = 0; i < session_count(); i++)
		pg_atomic_init_u64(&plinth_presence_sessions[i], 1);
}

/*
 * What time it is.
 */
PresenceNow
plinth_presence_now(void)
{
	PresenceNow now = {.time = GetCurrentTimestamp()};
	instr_time clock;

	INSTR_TIME_SET_CURRENT(clock);
	now.ms = (int64) INSTR_TIME_GET_MILLISEC(clock);
	return now;
}

/*
 * Raise 55000 unless the library was preloaded.
 */
void
plinth_presence_require(void)
{
	if (plinth_presence == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("presence is not available"),
						errdetail("\"%s\" is not in \"shared_preload_libraries\".",
								  PLINTH_LIBRARY),
						errhint(PLINTH_PREFLIGHT_HINT)));
}

/*
 * Buckets of each index, a power of two.
 */
static int
bucket_count(void)
{
	return (int) pg_nextpower2_32((uint32) plinth_presence_entries);
}

static int
block_count(void)
{
	return plinth_presence_entries * PRESENCE_BLOCKS_EACH;
}

/*
 * Processes that can have a session.
 */
static int
session_count(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static PresenceLink *
link_of(PresenceEntry *entry, Size link)
{
	return (PresenceLink *) ((char *) entry + link);
}

/*
 * Put an entry at the end of a list.
 */
void
plinth_presence_push(PresenceList *list, PresenceEntry *entry, Size link)
{
	int number = (int) (entry - plinth_presence_table);
	PresenceLink *mine = link_of(entry, link);

	mine->next = PRESENCE_NONE;
	mine->previous = list->last;
	if (list->last == PRESENCE_NONE)
		list->first = number;
	else
		link_of(&plinth_presence_table[list->last], link)->next = number;
	list->last = number;
}

/*
 * Take an entry out of its list.
 */
void
plinth_presence_unlink(PresenceList *list, PresenceEntry *entry, Size link)
{
	PresenceLink *mine = link_of(entry, link);

	if (mine->previous == PRESENCE_NONE)
		list->first = mine->next;
	else
		link_of(&plinth_presence_table[mine->previous], link)->next = mine->next;
	if (mine->next == PRESENCE_NONE)
		list->last = mine->previous;
	else
		link_of(&plinth_presence_table[mine->next], link)->previous =
			mine->previous;
}

uint32
plinth_presence_topic_bucket(const char *topic)
{
	return (uint32) hash_bytes_extended((const unsigned char *) topic,
										(int) strlen(topic),
										plinth_presence->seed) &
		   plinth_presence->mask;
}

static uint32
user_bucket(const pg_uuid_t *user_id)
{
	return (uint32) hash_bytes_extended(user_id->data, UUID_LEN,
										plinth_presence->seed) &
		   plinth_presence->mask;
}

/*
 * The worker of a database, or NULL.
 */
PresenceDatabase *
plinth_presence_find_database(Oid database)
{
	for (int i = 0; i < plinth_presence->ndatabases; i++)
		if (plinth_presence_databases[i].database == database)
			return &plinth_presence_databases[i];
	return NULL;
}

/*
 * The entry of a connection in this database, here or just gone; or NULL.
 * A user has few.
 */
PresenceEntry *
plinth_presence_find(const char *topic, const pg_uuid_t *user_id,
					 const pg_uuid_t *connection_id)
{
	int number = plinth_presence_users[user_bucket(user_id)].first;

	while (number != PRESENCE_NONE)
	{
		PresenceEntry *entry = &plinth_presence_table[number];

		if (entry->database == MyDatabaseId &&
			memcmp(&entry->connection_id, connection_id, UUID_LEN) == 0 &&
			memcmp(&entry->user_id, user_id, UUID_LEN) == 0 &&
			strcmp(entry->topic, topic) == 0)
			return entry;
		number = entry->by_user.next;
	}
	return NULL;
}

/*
 * How many entries a user has in this database.
 */
int
plinth_presence_count_user(const pg_uuid_t *user_id)
{
	int number = plinth_presence_users[user_bucket(user_id)].first;
	int count = 0;

	while (number != PRESENCE_NONE)
	{
		PresenceEntry *entry = &plinth_presence_table[number];

		if (entry->database == MyDatabaseId &&
			memcmp(&entry->user_id, user_id, UUID_LEN) == 0)
			count++;
		number = entry->by_user.next;
	}
	return count;
}

/*
 * A new entry without a body; NULL when none is free.
 */
PresenceEntry *
plinth_presence_new(const char *topic, const pg_uuid_t *user_id,
					const pg_uuid_t *connection_id)
{
	PresenceEntry *entry;

	if (plinth_presence->first_free != PRESENCE_NONE)
	{
		entry = &plinth_presence_table[plinth_presence->first_free];
		plinth_presence->first_free = entry->by_topic.next;
	}
	else if (plinth_presence->high_water < plinth_presence_entries)
		entry = &plinth_presence_table[plinth_presence->high_water++];
	else
		return NULL;

	memset(entry, 0, sizeof(*entry));
	entry->database = MyDatabaseId;
	entry->user_id = *user_id;
	entry->connection_id = *connection_id;
	entry->body = PRESENCE_NONE;
	entry->here = true;
	entry->told_ms = -PRESENCE_TELL_MS;
	strlcpy(entry->topic, topic, sizeof(entry->topic));
	entry->topic_bucket = plinth_presence_topic_bucket(topic);
	entry->user_bucket = user_bucket(user_id);
	plinth_presence_push(&plinth_presence_topics[entry->topic_bucket], entry,
						 PRESENCE_LINK(by_topic));
	plinth_presence_push(&plinth_presence_users[entry->user_bucket], entry,
						 PRESENCE_LINK(by_user));
	return entry;
}

/*
 * Give an entry back, with all that leads to it.
 */
void
plinth_presence_free(PresenceEntry *entry)
{
	PresenceDatabase *database = plinth_presence_find_database(entry->database);

	if (entry->place != PRESENCE_TOLD && database != NULL)
		plinth_presence_unlink(entry->place == PRESENCE_FRESH ? &database->fresh
															  : &database->later,
							   entry, PRESENCE_LINK(news));
	plinth_presence_unlink(&plinth_presence_topics[entry->topic_bucket], entry,
						   PRESENCE_LINK(by_topic));
	plinth_presence_unlink(&plinth_presence_users[entry->user_bucket], entry,
						   PRESENCE_LINK(by_user));
	free_blocks(entry);
	entry->database = InvalidOid;
	entry->by_topic.next = plinth_presence->first_free;
	plinth_presence->first_free = (int) (entry - plinth_presence_table);
}

/*
 * Is its time over: held by nobody and silent, or the token ended?
 */
bool
plinth_presence_is_over(const PresenceEntry *entry, PresenceNow now)
{
	if (entry->expires_at <= now.time)
		return true;
	if (pg_atomic_read_u64(&plinth_presence_sessions[entry->session]) ==
		entry->identity)
		return false;
	return now.ms - entry->spoken_ms >= PRESENCE_SILENCE_MS;
}

/*
 * Replace the body of an entry.  False, and nothing changed, when there are
 * not enough blocks.
 */
bool
plinth_presence_set_body(PresenceEntry *entry, const char *bytes, uint32 length)
{
	int wanted = (length + PRESENCE_BLOCK_BYTES - 1) / PRESENCE_BLOCK_BYTES;
	int has =
		(entry->body_length + PRESENCE_BLOCK_BYTES - 1) / PRESENCE_BLOCK_BYTES;
	int *tail = &entry->body;

	if (wanted - has > plinth_presence->free_blocks)
		return false;

	free_blocks(entry);
	entry->body_length = length;
	while (length > 0)
	{
		int number = plinth_presence->first_free_block;
		PresenceBlock *block = &blocks[number];
		uint32 piece = Min(length, PRESENCE_BLOCK_BYTES);

		plinth_presence->first_free_block = block->next;
		plinth_presence->free_blocks--;
		memcpy(block->bytes, bytes, piece);
		block->next = PRESENCE_NONE;
		*tail = number;
		tail = &block->next;
		bytes += piece;
		length -= piece;
	}
	return true;
}

/*
 * Copy the body of an entry; there is room for body_length bytes.
 */
void
plinth_presence_get_body(const PresenceEntry *entry, char *bytes)
{
	uint32 left = entry->body_length;

	for (int number = entry->body; left > 0; number = blocks[number].next)
	{
		uint32 piece = Min(left, PRESENCE_BLOCK_BYTES);

		memcpy(bytes, blocks[number].bytes, piece);
		bytes += piece;
		left -= piece;
	}
}

static void
free_blocks(PresenceEntry *entry)
{
	while (entry->body != PRESENCE_NONE)
	{
		PresenceBlock *block = &blocks[entry->body];
		int next = block->next;

		block->next = plinth_presence->first_free_block;
		plinth_presence->first_free_block = entry->body;
		plinth_presence->free_blocks++;
		entry->body = next;
	}
	entry->body_length = 0;
}
