/*-------------------------------------------------------------------------
 *
 * delivery.h
 *		Changes to clients.
 *
 * Messages are kept in a ring in shared memory, each once with the list of
 * its readers, until the ring comes round; realtime.poll() reads them there,
 * and the stream worker sends them to the readers' private channels.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DELIVERY_H
#define PLINTH_DELIVERY_H

#include "postgres.h"

#include "router/router.h"
#include "wire/wire.h"

/* Settings and memory; called by plinth.c. */
extern void plinth_delivery_define_settings(void);
extern void plinth_delivery_shmem_request(void);
extern void plinth_delivery_shmem_startup(void);

/*
 * Put a transaction's messages into the ring and send them to the readers'
 * channels, in the caller's transaction: the notifications go out when it
 * commits, and by then poll sees the messages.  For the stream worker.  A
 * replay does not count as late.
 */
extern void plinth_delivery_deliver(const WireTransaction *txn,
									RouterMatch *matches, int nmatches,
									bool replay);

/* So much memory may a stream worker keep for replays, in bytes. */
extern Size plinth_delivery_replay_memory(void);

/*
 * House-keeping of the stream worker, to be called after attaching and then
 * about once a second outside a transaction: ends subscriptions that are
 * over and tells readers of gaps and ends.  Opens a transaction only when
 * there is something to do.
 */
extern void plinth_delivery_tick(void);

/*
 * For the stream worker: from now on it takes the messages that are sent to
 * topics of its database at once.  Detaching happens at its exit, too.
 */
extern void plinth_delivery_attach_worker(void);
extern void plinth_delivery_detach_worker(void);

/*
 * Tell the readers of topics what has been sent to them at once, and who has
 * come, changed or gone, in the caller's transaction; lsn is up to where the
 * WAL has been delivered.  A turn is bounded: ask again.
 */
extern bool plinth_delivery_has_news(void);
extern void plinth_delivery_tell_news(XLogRecPtr lsn);

/*
 * Is a logical message of a transaction one that realtime.broadcast() has
 * written, to a topic that somebody follows?  May be called by decoding
 * callbacks.  The message leads into the bytes.
 */
extern bool plinth_delivery_read_message(const char *prefix, const char *bytes,
										 Size length, TransactionId xid,
										 WireMessage *message);

/*
 * What broadcast needs of other rooms, set when the library is loaded: to
 * wake the stream worker of a database, and to count a request of the caller
 * and raise PT429 when it is one too many.
 */
extern void (*plinth_delivery_wake)(Oid database);
extern void (*plinth_delivery_limit)(const char *endpoint);

/* What was done for this database since the server started. */
typedef struct DeliveryCounters
{
	int64 deliveries; /* messages times readers */
	int64 dropped;	  /* messages that left the ring unread, or did not fit */
	int64 gaps;		  /* gaps that readers had to be told of */
	int64 subscriptions; /* live now */
	int64 ring_used;	 /* bytes of the ring in use, all databases */
	double latency_p50;	 /* ms from commit to delivery; NaN when unknown */
	double latency_p95;
} DeliveryCounters;

extern void plinth_delivery_counters(Oid dboid, DeliveryCounters *counters);

#endif /* PLINTH_DELIVERY_H */
