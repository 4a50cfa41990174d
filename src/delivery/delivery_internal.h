/*-------------------------------------------------------------------------
 *
 * delivery_internal.h
 *		What delivery's files share with each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DELIVERY_INTERNAL_H
#define PLINTH_DELIVERY_INTERNAL_H

#include "delivery/delivery.h"

extern int plinth_delivery_ring_kb;	 /* plinth.realtime_ring_size */
extern int plinth_delivery_event_kb; /* plinth.realtime_max_event */

/* A message as it was put into the ring. */
typedef struct DeliveryMessage
{
	WireAction action;
	XLogRecPtr lsn;
	TimestampTz commit_time;
	bool replay;	  /* when it was delivered says nothing of the stream */
	const char *body; /* a JSON object without "seq" */
	uint32 length;
} DeliveryMessage;

/*
 * Put a message into the ring for these readers.  seqs is set to the number
 * that the message has for each.  False: it does not fit, and its readers
 * have a gap of that number instead.
 */
extern bool plinth_delivery_put(const DeliveryMessage *message,
								const RouterReader *readers, int nreaders,
								int64 *seqs);

/* The number of the last gap of a subscription. */
extern int64 plinth_delivery_gap_seq(const RouterSubscription *sub);

/* What poll finds for a subscription. */
typedef struct DeliveryRow
{
	int64 seq;
	WireAction action;
	XLogRecPtr lsn;
	TimestampTz commit_time;
	char *body;
	uint32 length;
} DeliveryRow;

/*
 * Copy messages after after_seq, ascending, into rows and the current memory
 * context; limit rows at most, of which a gap takes one.  *lost_upto is 0, or
 * the last number of those that are gone; rows begin after it.  *last is the
 * newest number that was given out.
 */
extern int plinth_delivery_read(const RouterSubscription *sub, int64 after_seq,
								int limit, DeliveryRow *rows, int64 *lost_upto,
								int64 *last);

/* What the views show of a subscription. */
extern void plinth_delivery_slot_counts(const RouterSubscription *sub,
										int64 *delivered, int64 *dropped,
										int64 *queue_bytes);

extern int64 plinth_delivery_ring_used(void);

/*
 * Put a message into the ring and send it to its readers' channels, in the
 * caller's transaction.  payload is room to work in.
 */
extern void plinth_delivery_hand_over(DeliveryMessage *message,
									  const StringInfo body,
									  const RouterReader *readers, int nreaders,
									  StringInfo payload);

/* Tell of gaps and ends; a gap is told before what comes after it. */
extern void plinth_delivery_tell_notices(StringInfo payload);

/* delivery_broadcast.c, delivery_queue.c */
extern void plinth_delivery_broadcast_request(void);
extern void plinth_delivery_broadcast_startup(void);
extern void plinth_delivery_queue_request(void);
extern void plinth_delivery_queue_startup(void);

/*
 * A message for the stream worker of this database.  Waits for room, at most
 * the time given; false: there was none.  Without a worker it is gone.
 */
extern bool plinth_delivery_enqueue(const char *bytes, Size length,
									int timeout_ms);

/* For that worker: is there one, and the next; NULL when there is none. */
extern bool plinth_delivery_queued(void);
extern char *plinth_delivery_dequeue(Size *length, TimestampTz *sent_at);

/* delivery_stat.c */
extern void plinth_delivery_stat_request(void);
extern void plinth_delivery_stat_startup(void);
extern void plinth_delivery_count(int64 dropped, int64 gaps);

/* One more delivery, that long after the commit; presence has none. */
extern void plinth_delivery_note(const DeliveryMessage *message, int64 readers);

#endif /* PLINTH_DELIVERY_INTERNAL_H */
