/*-------------------------------------------------------------------------
 *
 * presence_internal.h
 *		Who is there, as it lies in shared memory.
 *
 * Locking: plinth_presence->lock guards everything here but the sessions'
 * counters, which are atomic.  It is held for one entry's worth of work, or
 * for one pass over the entries of a topic or of all (a session that ends,
 * the worker's tick, a full table).  No error is raised, no memory is taken
 * and no SQL is run meanwhile.
 *
 * An entry is in two chains, by its topic and by its user.  What its readers
 * have yet to be told puts it into a list of its database's worker; an entry
 * that has left stays, unseen, until that has been told, and rests a second,
 * so that nobody can come and go faster than that.  So the news needs no
 * memory of its own, and several changes of one connection are one.
 *
 * An entry is held by a session as long as the session has the identity that
 * it had when it spoke last: the counter of its process says so.  The counter
 * moves on when the user of the claims changes, be it by SET, RESET, DISCARD,
 * the end of a transaction, and when the process ends.  What nobody holds
 * leaves after a minute.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_PRESENCE_INTERNAL_H
#define PLINTH_PRESENCE_INTERNAL_H

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "base/topic.h"
#include "presence/presence.h"

#define PRESENCE_MAX_PER_USER 100
#define PRESENCE_SILENCE_MS (60 * 1000)
#define PRESENCE_TELL_MS 1000 /* least time between two news of an entry */

/* Limits of texts; those in characters may take four bytes each. */
#define PRESENCE_PAGE_CHARS 2048
#define PRESENCE_BROWSER_CHARS 128
#define PRESENCE_META_BYTES 4096
#define PRESENCE_AVATAR_CHARS 2048
#define PRESENCE_NAME_CHARS 64

/* Texts of an entry, packed: each with a byte before it and a zero after. */
#define PRESENCE_BODY_MAX                                \
	(4 * (PRESENCE_PAGE_CHARS + PRESENCE_BROWSER_CHARS + \
		  PRESENCE_AVATAR_CHARS + PRESENCE_NAME_CHARS) + \
	 PRESENCE_META_BYTES + 10)

#define PRESENCE_NEVER PG_INT64_MAX
#define PRESENCE_NONE (-1) /* no entry, no block */
#define PRESENCE_BLOCK_BYTES 252

/* A piece of an entry's body. */
typedef struct PresenceBlock
{
	int next;
	char bytes[PRESENCE_BLOCK_BYTES];
} PresenceBlock;

/* A place in a list of entries. */
typedef struct PresenceLink
{
	int next;
	int previous;
} PresenceLink;

/* A list of entries; both are PRESENCE_NONE when it is empty. */
typedef struct PresenceList
{
	int first;
	int last;
} PresenceList;

typedef enum PresencePlace
{
	PRESENCE_TOLD,	/* nothing to tell */
	PRESENCE_FRESH, /* in the worker's list of what is to be told now */
	PRESENCE_LATER	/* and of those of which was told a moment ago */
} PresencePlace;

typedef struct PresenceEntry
{
	Oid database; /* InvalidOid in a free entry */
	pg_uuid_t user_id;
	pg_uuid_t connection_id;
	PresenceStatus status;
	PresenceDevice device;
	TimestampTz online_at;
	TimestampTz last_seen;
	TimestampTz expires_at; /* of the claims; DT_NOEND */
	int session;			/* the process that spoke last */
	uint64 identity;		/* and its counter then */
	bool here;				/* false: has left: to be told, or resting */
	bool known;				/* readers have been told that it is here */
	PresencePlace place;
	int64 spoken_ms;	   /* when it was heard of last; not set back */
	int64 told_ms;		   /* and when it was told */
	PresenceLink by_topic; /* next: of the free ones, too */
	PresenceLink by_user;
	PresenceLink news;
	uint32 topic_bucket;
	uint32 user_bucket;
	int body; /* first block */
	uint32 body_length;
	char topic[PLINTH_TOPIC_SIZE];
} PresenceEntry;

/*
 * Now: by the wall clock, which tells when a token ends, and in milliseconds
 * by one that nobody steps.
 */
typedef struct PresenceNow
{
	TimestampTz time;
	int64 ms;
} PresenceNow;

/* The stream worker of a database. */
typedef struct PresenceDatabase
{
	Oid database; /* InvalidOid in a free entry */
	int pid;
	int64 later_due; /* when the first of those is to be told, in ms */
	PresenceList fresh;
	PresenceList later;
} PresenceDatabase;

typedef struct PresenceShared
{
	LWLock *lock;
	uint64 seed; /* of the hashes */
	uint32 mask; /* of a bucket's number */
	int ndatabases;
	int high_water; /* entries from here on were never used */
	int first_free;
	int first_free_block;
	int free_blocks;
} PresenceShared;

/* Links to shared memory; NULL when the library was not preloaded. */
extern PresenceShared *plinth_presence;
extern PresenceEntry *plinth_presence_table;
extern PresenceDatabase *plinth_presence_databases;
extern PresenceList *plinth_presence_topics; /* buckets */
extern PresenceList *plinth_presence_users;	 /* buckets */
extern pg_atomic_uint64 *plinth_presence_sessions;

extern int plinth_presence_entries;

extern PresenceNow plinth_presence_now(void);

/* Raise 55000 unless the library was preloaded. */
extern void plinth_presence_require(void);

/* For whom holds the lock. */
extern PresenceDatabase *plinth_presence_find_database(Oid database);
extern PresenceEntry *plinth_presence_find(const char *topic,
										   const pg_uuid_t *user_id,
										   const pg_uuid_t *connection_id);
extern int plinth_presence_count_user(const pg_uuid_t *user_id);
extern PresenceEntry *plinth_presence_new(const char *topic,
										  const pg_uuid_t *user_id,
										  const pg_uuid_t *connection_id);
extern void plinth_presence_free(PresenceEntry *entry);
extern uint32 plinth_presence_topic_bucket(const char *topic);

/* Is its time over: held by nobody and silent, or its token ended? */
extern bool plinth_presence_is_over(const PresenceEntry *entry, PresenceNow now);

/*
 * A change is to be told.  Returns whether the worker is to be woken.  An
 * entry that has left and that nobody knows of is freed, unless it rests.
 */
extern bool plinth_presence_note(PresenceEntry *entry);

/* It leaves.  Returns the same. */
extern bool plinth_presence_leave(PresenceEntry *entry, TimestampTz last_seen);

/* Put an entry into a list, and take it out. */
extern void plinth_presence_push(PresenceList *list, PresenceEntry *entry,
								 Size link);
extern void plinth_presence_unlink(PresenceList *list, PresenceEntry *entry,
								   Size link);
#define PRESENCE_LINK(field) offsetof(PresenceEntry, field)

/* Bytes of an entry; setting them fails when the blocks are used up. */
extern bool plinth_presence_set_body(PresenceEntry *entry, const char *bytes,
									 uint32 length);
extern void plinth_presence_get_body(const PresenceEntry *entry, char *bytes);

/* The texts of a state as bytes and back; pure. */
extern uint32 plinth_presence_pack(const PresenceState *state, char *bytes);
extern void plinth_presence_unpack(const char *bytes, PresenceState *state);

/* The fixed part of an entry; its texts are left alone. */
extern void plinth_presence_get_state(const PresenceEntry *entry,
									  PresenceState *state);

/* presence_change.c: what a connection says of itself. */
typedef enum PresenceOutcome
{
	PRESENCE_DONE,
	PRESENCE_UNKNOWN,	 /* it is not there */
	PRESENCE_USER_LIMIT, /* as many as one user may have are there */
	PRESENCE_FULL		 /* no entry or no memory is left */
} PresenceOutcome;

/* Which connection, and until when its claims hold. */
typedef struct PresenceCaller
{
	const char *topic;
	pg_uuid_t user_id;
	pg_uuid_t connection_id;
	TimestampTz expires_at;
} PresenceCaller;

/* What is to change; NULL: nothing of that kind. */
typedef struct PresenceEdit
{
	const PresenceState *whole;	  /* all but times; made when it is missing */
	const PresenceStatus *status; /* this alone */
	const char *const *page;	  /* this alone; it may be NULL */
} PresenceEdit;

/* Change, or with an edit that asks for nothing only keep alive. */
extern PresenceOutcome plinth_presence_edit(const PresenceCaller *caller,
											const PresenceEdit *edit);
extern void plinth_presence_untrack(const PresenceCaller *caller);

/*
 * Who is under a topic of this database, or with NULL under any, in the
 * current memory context.
 */
extern PresenceState *plinth_presence_list(const char *topic, int *count);

extern const char *plinth_presence_status_name(PresenceStatus status);
extern const char *plinth_presence_device_name(PresenceDevice device);

#endif /* PLINTH_PRESENCE_INTERNAL_H */
