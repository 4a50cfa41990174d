/*-------------------------------------------------------------------------
 *
 * delivery_ring.h
 *		The ring as it lies in shared memory.
 *
 * See delivery_ring.c for the locking.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DELIVERY_RING_H
#define PLINTH_DELIVERY_RING_H

#include "storage/lwlock.h"

#include "delivery/delivery_internal.h"

#define DELIVERY_HALVES 2

typedef struct DeliveryFrame
{
	uint32 length; /* of all of it, a multiple of MAXALIGN */
	uint32 body_length;
	XLogRecPtr lsn;
	TimestampTz commit_time;
	WireAction action;
	uint32 nreaders; /* 0: fills the ring up to its end */
} DeliveryFrame;

/* After the frame's head, one for each reader; the body follows. */
typedef struct DeliveryEntry
{
	uint64 id; /* of the subscription */
	int64 seq;
	uint64 next_frame; /* place; 0 ends the chain */
	uint32 next_entry;
	int32 slot;
} DeliveryEntry;

/* A subscription's side. */
typedef struct DeliverySlot
{
	uint64 id;
	uint32 gaps;		/* as many of the router's are applied */
	int64 seq;			/* last number given out */
	int64 gap_seq;		/* number of the last gap */
	int64 first_seq;	/* oldest in the ring; seq + 1 when there is none */
	uint64 first_frame; /* its place, 0: none */
	uint32 first_entry;
	uint64 last_frame;
	uint32 last_entry;
	int64 cursor_seq; /* where the last poll ended */
	uint64 cursor_frame;
	uint32 cursor_entry;
	int64 delivered;
	int64 dropped;
	int64 dropped_upto; /* numbers up to it were read, or are in dropped */
	int64 queue_bytes;	/* of its messages in the ring */
} DeliverySlot;

typedef struct DeliveryHalf
{
	uint64 head; /* position of the next frame */
	uint64 tail; /* position of the oldest */
} DeliveryHalf;

/* The place of a frame is its position, a multiple of MAXALIGN, plus its half. */
typedef struct DeliveryShared
{
	LWLock *lock;
	uint64 size; /* of a half in bytes */
	DeliveryHalf halves[DELIVERY_HALVES];
} DeliveryShared;

/* Links to shared memory; NULL when the library was not preloaded. */
extern DeliveryShared *plinth_delivery_ring;
extern DeliverySlot *plinth_delivery_slots;
extern char *plinth_delivery_ring_bytes;

/* delivery_room.c; for whom holds the lock */
extern DeliveryFrame *plinth_delivery_frame_at(uint64 place);
extern DeliveryEntry *plinth_delivery_entries_of(DeliveryFrame *frame);
extern char *plinth_delivery_body_of(DeliveryFrame *frame);

/* Room for a frame for these readers, of so many bytes; its place. */
extern uint64 plinth_delivery_take_room(const RouterReader *readers, int count,
										uint64 bytes);

/* Chain an entry of a frame to a reader's last. */
extern void plinth_delivery_append_entry(DeliverySlot *slot, uint64 place,
										 uint32 number);

#endif /* PLINTH_DELIVERY_RING_H */
