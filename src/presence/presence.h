/*-------------------------------------------------------------------------
 *
 * presence.h
 *		Who is here?
 *
 * An entry says that a user is there under a topic with one of its
 * connections.  Entries lie in shared memory and in no table: they go with
 * the session that made them, or after a minute of silence, and with the
 * server.  Nothing here is transactional.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_PRESENCE_H
#define PLINTH_PRESENCE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

/* In the order in which one beats the next where one has to stand for all. */
typedef enum PresenceStatus
{
	PRESENCE_ONLINE,
	PRESENCE_BUSY,
	PRESENCE_AWAY,
	PRESENCE_OFFLINE
} PresenceStatus;

typedef enum PresenceDevice
{
	PRESENCE_NO_DEVICE,
	PRESENCE_DESKTOP,
	PRESENCE_MOBILE,
	PRESENCE_TABLET
} PresenceDevice;

/* What is known of one connection; texts may be NULL but the first and last. */
typedef struct PresenceState
{
	const char *topic;
	pg_uuid_t user_id;
	pg_uuid_t connection_id;
	PresenceStatus status;
	PresenceDevice device;
	TimestampTz online_at;
	TimestampTz last_seen;
	const char *username;
	const char *avatar_url;
	const char *current_page;
	const char *browser;
	const char *meta; /* a JSON object */
} PresenceState;

/* What the readers of a topic are to be told of a connection. */
typedef enum PresenceEvent
{
	PRESENCE_JOIN,
	PRESENCE_UPDATE,
	PRESENCE_LEAVE
} PresenceEvent;

/* Settings and memory; called by plinth.c. */
extern void plinth_presence_define_settings(void);
extern void plinth_presence_shmem_request(void);
extern void plinth_presence_shmem_startup(void);

/*
 * There is news for the stream worker of a database.  Set when the library
 * is loaded.
 */
extern void (*plinth_presence_wake)(Oid database);

/*
 * For the stream worker of its database: from now on it tells what changes.
 * Who was there before counts as told: readers are told of a gap and ask.
 * Detaching happens at the exit of the process, too.
 */
extern void plinth_presence_attach_worker(void);
extern void plinth_presence_detach_worker(void);

/* Is something to be told now?  Takes no lock when nothing ever is. */
extern bool plinth_presence_has_news(void);

/*
 * The next thing to be told, the oldest first; false when there is none that
 * is due.  A connection that changes is told of once a second.  The state's
 * texts are in the current memory context.
 */
extern bool plinth_presence_next_news(PresenceEvent *event, PresenceState *state);

/* Whoever was silent for a minute has left; for the worker's tick. */
extern void plinth_presence_expire(void);

/*
 * Called by the room claims whenever the user that this session acts for may
 * have changed.
 */
extern void plinth_presence_identity_changed(void);

/* Append the state's members to an object that is being written. */
extern void plinth_presence_write(StringInfo out, const PresenceState *state);

#endif /* PLINTH_PRESENCE_H */
