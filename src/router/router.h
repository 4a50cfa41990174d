/*-------------------------------------------------------------------------
 *
 * router.h
 *		Which subscriber gets which change?
 *
 * Subscriptions stand in shared memory.  Backends enter, renew and end them;
 * the stream worker of their database keeps an index of its own over them
 * and finds the readers of a change by look-ups.  What a reader may see is
 * judged on the row as the WAL carries it, by a route compiled from the
 * table's SELECT policies; what cannot be decided is not sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_H
#define PLINTH_ROUTER_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/bitmapset.h"
#include "nodes/nodes.h"
#include "utils/uuid.h"

#include "base/topic.h"
#include "wire/wire.h"

#define ROUTER_CHANNEL_SIZE 40	/* name of a LISTEN channel and its zero */
#define ROUTER_KEY_HASH_SIZE 32 /* SHA-256 of a session key */
#define ROUTER_REASON_SIZE 128	/* why a subscription ended, and a zero */

/* The name of a text that is kept once for all who have it; zero: none. */
typedef struct RouterText
{
	uint8 digest[16];
} RouterText;

/* Events a subscriber asks for. */
#define ROUTER_EVENT_INSERT 0x01
#define ROUTER_EVENT_UPDATE 0x02
#define ROUTER_EVENT_DELETE 0x04
#define ROUTER_EVENT_ALL 0x07

/* Events of a topic, for subscriptions without a table. */
#define ROUTER_EVENT_BROADCAST 0x08
#define ROUTER_EVENT_PRESENCE 0x10
#define ROUTER_EVENT_TOPIC 0x18

/* How the SELECT policies of a table and a role were compiled. */
typedef enum RouterRouteKind
{
	ROUTER_ROUTE_NONE,		 /* nobody sees a row */
	ROUTER_ROUTE_ALL,		 /* everybody of that role sees every row */
	ROUTER_ROUTE_HASH,		 /* columns name the users that see a row */
	ROUTER_ROUTE_EXPRESSION, /* a row's values decide, the same for all */
	ROUTER_ROUTE_QUERY		 /* each identity's own SELECT decides */
} RouterRouteKind;

/* A subscription; guarded by the router's lock where it is shared. */
typedef struct RouterSubscription
{
	uint64 id; /* random, its low bits the slot; 0 in a free slot */
	int slot;
	Oid database;
	Oid role; /* whose policies and column rights count */
	bool has_user;
	pg_uuid_t user_id;
	Oid relid;	  /* InvalidOid: its topic is followed */
	uint8 events; /* ROUTER_EVENT_* */
	RouterRouteKind route;
	RouterText claims; /* that were verified; judged with these */
	bool stated;	   /* claims stood in request.jwt.claims too */
	RouterText filter; /* in the form that the worker reads */
	uint32 gaps;	   /* times that the stream broke off under it */
	uint32 renewals;   /* times that its claims were replaced */
	int64 judged;	   /* rows that its policies were run for */
	int64 judged_us;   /* time that took */
	bool ended;		   /* no more changes; reason says why */
	bool orphan;	   /* the session that made it is gone */
	int pid;		   /* that session, while it is there */
	XLogRecPtr start_lsn;
	TransactionId start_xmin; /* oldest transaction running at the start */
	XLogRecPtr since; /* what was committed from there on is wanted, too */
	TimestampTz created_at;
	TimestampTz last_seen;
	TimestampTz expires_at;
	uint8 key_hash[ROUTER_KEY_HASH_SIZE];
	char channel[ROUTER_CHANNEL_SIZE];
	char topic[PLINTH_TOPIC_SIZE];
	char reason[ROUTER_REASON_SIZE];
} RouterSubscription;

/* One reader of one message. */
typedef struct RouterReader
{
	int slot;
	uint64 id;
	uint32 gaps; /* as in RouterSubscription, at this moment */
	char channel[ROUTER_CHANNEL_SIZE];
} RouterReader;

/* One message: a change as some readers see it. */
typedef struct RouterMatch
{
	const WireTransaction *txn;
	const WireChange *change;
	WireView view;
	int nreaders;
	RouterReader *readers;
} RouterMatch;

/* Settings and memory; called by plinth.c. */
extern void plinth_router_define_settings(void);
extern void plinth_router_shmem_request(void);
extern void plinth_router_shmem_startup(void);

extern int plinth_router_max_subscriptions;

/*
 * For the stream worker.  Attaching says that from now on every commit of
 * this database is decoded by this process; it is a gap for each subscriber
 * that is already there.  Call it once the slot is there, and detach (or
 * exit: a callback does the same) when it is gone.
 */
extern void plinth_router_attach_worker(Oid dboid);
extern void plinth_router_detach_worker(void);

/*
 * What is wanted of this table's changes: WIRE_NOTHING when nobody follows it,
 * else WIRE_TEXT_ROWS, and WIRE_TUPLES where a policy has to be asked.  Asks
 * no catalog, so it may be called by decoding callbacks.  Sees every
 * subscription that was entered before the commit that is being decoded.
 */
extern int plinth_router_wants(Oid relid);

/*
 * From which position on all of a table's changes are among the transactions
 * of a replay, as WIRE_TEXT_ROWS or WIRE_TUPLES.
 */
typedef XLogRecPtr (*RouterKeptFrom)(Oid relid, int wanted, void *arg);

/* How far a turn has been matched; the first ones are the caller's. */
typedef struct RouterTurn
{
	const WireTransaction *const *transactions;
	int count;
	RouterKeptFrom replay; /* or NULL: it is no replay */
	void *replay_arg;
	int txn; /* the next transaction, and the next change of it */
	int change;
} RouterTurn;

/*
 * Is there a subscription that wants what was committed before it began?  It
 * is told of nothing until a replay has been matched: a turn of what is left
 * of the past, in whose first round each such subscription is let in, or
 * gets a gap where something is missing, and which only they are told of.
 * Asks no catalog.
 */
extern bool plinth_router_replay_due(void);

/* A replay broke off: a gap for those that it was for. */
extern void plinth_router_break_replay(void);

/*
 * Find the readers of the next changes of a turn, in their order, and move
 * the turn on behind them; it is over when txn has come to count.  How many
 * that are is decided by what has to be asked of policies, because the rows
 * of one identity are judged together.
 *
 * Runs in an ordinary transaction; first waits until the transactions are
 * visible to everybody, so that who is told of a row can also read it.  The
 * result is in the current memory context.
 */
extern RouterMatch *plinth_router_match(RouterTurn *turn, int *nmatches);

/*
 * Does somebody follow this topic?  Asks no catalog and sees what
 * plinth_router_wants() sees.
 */
extern bool plinth_router_wants_topic(const char *topic);

/*
 * Who is to be told of an event of a topic (ROUTER_EVENT_BROADCAST or
 * ROUTER_EVENT_PRESENCE), in the current memory context.  txn is the
 * transaction that it was sent with, or NULL.
 */
extern RouterReader *plinth_router_topic_readers(const char *topic, uint8 event,
												 const WireTransaction *txn,
												 int *nreaders);

/* Is there something to expire, or somebody to be told?  Asks no catalog. */
extern bool plinth_router_due(void);

/*
 * End what is over (token expired, session long gone, table dropped, policy
 * no longer compiled) and give back the slots of what ended long ago.
 * Called by the stream worker about once a second in a transaction.
 */
extern void plinth_router_expire(void);

/* Changes were lost: a gap for every subscriber of the attached database. */
extern void plinth_router_gap(void);

/*
 * Call a function for each subscription of the attached database whose
 * state its reader has to be told: a gap, or its end.  Each is told once.
 */
typedef void (*RouterNotice)(const RouterSubscription *sub, void *arg);
extern void plinth_router_notices(RouterNotice notice, void *arg);

/* Is this process the attached stream worker of its database? */
extern bool plinth_router_attached(void);

/*
 * The holder's way to its subscription: a copy, its last_seen renewed.
 * P0002 when there is none of that id, 42501 when the key is another's.
 */
extern void plinth_router_open(uint64 id, const char *session_key,
							   RouterSubscription *copy);

/* All subscriptions of this database, in the current memory context. */
extern RouterSubscription *plinth_router_list(int *count);
extern int plinth_router_count(Oid dboid);

/*
 * A copy of a text in the current memory context; NULL when there is none, or
 * not any more.
 */
extern char *plinth_router_text_read(const RouterText *text);
extern const char *plinth_router_route_name(RouterRouteKind kind);

/* Is the library preloaded?  If not: 55000 with the hint of preflight. */
extern void plinth_router_require(void);

/*
 * After a statement has run: is it one that adds tables to the publication
 * plinth_realtime?  Then refuse (55000) those without replica identity, whose
 * updates PostgreSQL would refuse from then on; but not in a database that
 * waits for plinth.enable(), where a restore adds tables before their keys.
 */
extern bool plinth_router_is_publishing(Node *statement);
extern void plinth_router_check_publication(void);

#endif /* PLINTH_ROUTER_H */
