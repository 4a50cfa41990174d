/*-------------------------------------------------------------------------
 *
 * delivery_ring.c
 *		The ring of recent messages.
 *
 * A frame is a message and the list of its readers.  Positions count bytes
 * ever written, so that a position tells its age; a frame lies in one piece.
 * The entries of one reader are chained from the oldest to the newest, and
 * when the oldest frame has to go its readers' chains begin behind it.  So a
 * reader finds its messages without a look at those of others, and the
 * numbers tell exactly what it missed: they count up by one, and the ring
 * holds an unbroken range that ends with the last.
 *
 * What has to go, and from whom, is decided in delivery_room.c.
 *
 * A gap in the stream takes a number too and cuts the chain, because what
 * was before it is of no use to somebody who reads afresh.  The router
 * counts gaps; here they are applied when a subscription is next written to
 * or read, with the same result.
 *
 * Locking: delivery->lock guards the ring and the slots.
 * Writers hold it for one frame and those that it pushes out; readers share
 * it for one buffer's worth of copying.  No error is raised meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"
#include "delivery/delivery_ring.h"

#include "base/settings.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define DELIVERY_TRANCHE "plinth delivery"

/* A frame may take this part of a half. */
#define DELIVERY_MAX_SHARE 2

/* Readers of one frame; more get a frame of their own with the same body. */
#define DELIVERY_MAX_READERS 1024

/* What a reader copies under one hold of the lock, unless one is larger. */
#define DELIVERY_COPY_BYTES (256 * 1024)

/* A poll under way. */
typedef struct DeliveryReading
{
	const RouterSubscription *sub;
	int64 after;
	int limit;
	int count;
	DeliveryRow *rows;
	bool begun;
	int64 lost_upto;
	int64 last;
	int64 cursor_seq; /* of the last that was copied */
	uint64 cursor_frame;
	uint32 cursor_entry;
	char *buffer;
	Size size;
	Size used;
} DeliveryReading;

int plinth_delivery_ring_kb = 64 * 1024;
int plinth_delivery_event_kb = 1024;

DeliveryShared *plinth_delivery_ring = NULL;
DeliverySlot *plinth_delivery_slots = NULL;
char *plinth_delivery_ring_bytes = NULL;

static Size ring_size(void);
static void synchronize(DeliverySlot *slot, uint64 id, uint32 gaps);
static int put_frame(const DeliveryMessage *message,
					 const RouterReader *readers, int nreaders, int64 *seqs);
static void cut(DeliverySlot *slot);
static Size copy_some(DeliveryReading *reading);
static void note_read(const DeliveryReading *reading, int64 after_seq);

/*
 * Define delivery's settings.  Called once, from _PG_init().
 */
void
plinth_delivery_define_settings(void)
{
	/* Sizes shared memory, so it is fixed once the server is up. */
	DefineCustomIntVariable(
		"plinth.realtime_ring_size",
		"Sets the memory for recent messages of the change stream.",
		"Subscribers that poll too late find a gap.", &plinth_delivery_ring_kb,
		64 * 1024, 64, 16 * 1024 * 1024, PLINTH_PGC_START, GUC_UNIT_KB, NULL,
		NULL, NULL);
	DefineCustomIntVariable(
		"plinth.realtime_max_event",
		"Sets the size above which a message carries the key only.", NULL,
		&plinth_delivery_event_kb, 1024, 1, 1024 * 1024, PGC_SIGHUP,
		GUC_UNIT_KB, NULL, NULL, NULL);
}

/*
 * Ask for the memory and the lock.
 */
void
plinth_delivery_shmem_request(void)
{
	Size size = MAXALIGN(sizeof(DeliveryShared));

	size = add_size(size, ring_size());
	size = add_size(
		size, mul_size(plinth_router_max_subscriptions, sizeof(DeliverySlot)));
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche(DELIVERY_TRANCHE, 1);
	plinth_delivery_stat_request();
	plinth_delivery_broadcast_request();
	plinth_delivery_queue_request();
}

/*
 * Create the ring, or attach to it.  The caller holds AddinShmemInitLock.
 */
void
plinth_delivery_shmem_startup(void)
{
	Size slots_size =
		mul_size(plinth_router_max_subscriptions, sizeof(DeliverySlot));
	bool found;

	plinth_delivery_ring =
		ShmemInitStruct(DELIVERY_TRANCHE, sizeof(DeliveryShared), &found);
	if (!found)
	{
		plinth_delivery_ring->lock =
			&(GetNamedLWLockTranche(DELIVERY_TRANCHE))->lock;
		plinth_delivery_ring->size = ring_size() / DELIVERY_HALVES;

		/* One turn ahead, so that no frame is at position 0. */
		for (int i = 0; i < DELIVERY_HALVES; i++)
			plinth_delivery_ring->halves[i].head =
				plinth_delivery_ring->halves[i].tail =
					plinth_delivery_ring->size;
	}
	plinth_delivery_ring_bytes =
		ShmemInitStruct("plinth delivery ring", ring_size(), &found);
	plinth_delivery_slots =
		ShmemInitStruct("plinth delivery slots", slots_size, &found);
	if (!found)
		memset(plinth_delivery_slots, 0, slots_size);
	plinth_delivery_stat_startup();
	plinth_delivery_broadcast_startup();
	plinth_delivery_queue_startup();
}

/*
 * Put a message into the ring, in as many frames as its readers take.
 */
bool
plinth_delivery_put(const DeliveryMessage *message, const RouterReader *readers,
					int nreaders, int64 *seqs)
{
	int done = 0;
	bool fits = true;

	while (done < nreaders)
	{
		int put =
			put_frame(message, readers + done, nreaders - done, seqs + done);

		if (put < 0)
		{
			fits = false;
			put = -put;
		}
		done += put;
	}
	return fits;
}

/*
 * The number of the last gap of a subscription.
 */
int64
plinth_delivery_gap_seq(const RouterSubscription *sub)
{
	DeliverySlot *slot = &plinth_delivery_slots[sub->slot];
	int64 seq;

	LWLockAcquire(plinth_delivery_ring->lock, LW_EXCLUSIVE);
	synchronize(slot, sub->id, sub->gaps);
	seq = slot->gap_seq;
	LWLockRelease(plinth_delivery_ring->lock);
	plinth_delivery_count(0, 1);

	return seq;
}

/*
 * Copy messages out of the ring, with the lock let go between buffers.
 */
int
plinth_delivery_read(const RouterSubscription *sub, int64 after_seq, int limit,
					 DeliveryRow *rows, int64 *lost_upto, int64 *last)
{
	DeliveryReading reading = {
		.sub = sub, .after = after_seq, .limit = limit, .rows = rows};
	Size wanted = DELIVERY_COPY_BYTES;

	do
	{
		/* What was copied so far keeps its buffer. */
		reading.size = Max(wanted, DELIVERY_COPY_BYTES);
		reading.used = 0;
		reading.buffer = palloc_extended(reading.size, MCXT_ALLOC_HUGE);

		LWLockAcquire(plinth_delivery_ring->lock, LW_SHARED);
		wanted = copy_some(&reading);
		LWLockRelease(plinth_delivery_ring->lock);
		CHECK_FOR_INTERRUPTS();
	} while (wanted > 0);
	note_read(&reading, after_seq);

	*lost_upto = reading.lost_upto;
	*last = reading.last;
	return reading.count;
}

/*
 * What the views show of a subscription.
 */
void
plinth_delivery_slot_counts(const RouterSubscription *sub, int64 *delivered,
							int64 *dropped, int64 *queue_bytes)
{
	DeliverySlot *slot = &plinth_delivery_slots[sub->slot];

	*delivered = *dropped = *queue_bytes = 0;
	LWLockAcquire(plinth_delivery_ring->lock, LW_SHARED);
	if (slot->id == sub->id)
	{
		*delivered = slot->delivered;
		*dropped = slot->dropped;
		*queue_bytes = slot->queue_bytes;
	}
	LWLockRelease(plinth_delivery_ring->lock);
}

/*
 * Bytes of the ring in use.
 */
int64
plinth_delivery_ring_used(void)
{
	int64 used = 0;

	LWLockAcquire(plinth_delivery_ring->lock, LW_SHARED);
	for (int i = 0; i < DELIVERY_HALVES; i++)
		used += plinth_delivery_ring->halves[i].head -
				plinth_delivery_ring->halves[i].tail;
	LWLockRelease(plinth_delivery_ring->lock);

	return used;
}

/*
 * What is kept to be replayed makes half a ring at most.
 */
Size
plinth_delivery_replay_memory(void)
{
	return ring_size() / 2;
}

/*
 * Bytes of the ring.
 */
static Size
ring_size(void)
{
	return mul_size(plinth_delivery_ring_kb, 1024);
}

/*
 * Make a slot the subscription's, and apply the gaps that it has had.  Works
 * on a copy too.  The caller holds the lock.
 */
static void
synchronize(DeliverySlot *slot, uint64 id, uint32 gaps)
{
	if (slot->id != id)
	{
		memset(slot, 0, sizeof(*slot));
		slot->id = id;
		slot->first_seq = 1;
	}
	if (slot->gaps < gaps)
	{
		slot->seq += gaps - slot->gaps;
		slot->gaps = gaps;
		cut(slot);
	}
}

/*
 * Forget what is in the ring: the last number given out is a gap's.
 */
static void
cut(DeliverySlot *slot)
{
	slot->gap_seq = slot->seq;
	slot->first_seq = slot->seq + 1;
	slot->first_frame = slot->last_frame = slot->cursor_frame = 0;
	slot->queue_bytes = 0;
}

/*
 * Put one frame into the ring, for as many of the readers as it takes.
 * Returns how many those are; less than zero when it is too large and that
 * many readers got a gap.
 */
static int
put_frame(const DeliveryMessage *message, const RouterReader *readers,
		  int nreaders, int64 *seqs)
{
	Size head = MAXALIGN(sizeof(DeliveryFrame));
	Size share = plinth_delivery_ring->size / DELIVERY_MAX_SHARE;
	int count = Min(nreaders, DELIVERY_MAX_READERS);
	DeliveryFrame *frame;
	DeliveryEntry *entries;
	uint64 place;
	Size length;
	bool fits;

	fits = head + sizeof(DeliveryEntry) + MAXALIGN(message->length) <= share;
	if (fits)
		count = Min((Size) count, (share - head - MAXALIGN(message->length)) /
									  sizeof(DeliveryEntry));
	length = MAXALIGN(head + count * sizeof(DeliveryEntry) + message->length);

	LWLockAcquire(plinth_delivery_ring->lock, LW_EXCLUSIVE);
	for (int i = 0; i < count; i++)
	{
		DeliverySlot *slot = &plinth_delivery_slots[readers[i].slot];

		synchronize(slot, readers[i].id, readers[i].gaps);
		seqs[i] = ++slot->seq;
		if (!fits)
			cut(slot);
	}
	if (!fits)
	{
		LWLockRelease(plinth_delivery_ring->lock);
		plinth_delivery_count(count, count);
		return -count;
	}

	place = plinth_delivery_take_room(readers, count, length);
	frame = plinth_delivery_frame_at(place);
	frame->length = length;
	frame->body_length = message->length;
	frame->lsn = message->lsn;
	frame->commit_time = message->commit_time;
	frame->action = message->action;
	frame->nreaders = count;
	entries = plinth_delivery_entries_of(frame);
	for (int i = 0; i < count; i++)
	{
		DeliverySlot *slot = &plinth_delivery_slots[readers[i].slot];

		entries[i].id = readers[i].id;
		entries[i].seq = seqs[i];
		entries[i].next_frame = 0;
		entries[i].next_entry = 0;
		entries[i].slot = readers[i].slot;
		plinth_delivery_append_entry(slot, place, i);
		slot->delivered++;
		slot->queue_bytes += message->length;
	}
	memcpy(plinth_delivery_body_of(frame), message->body, message->length);
	LWLockRelease(plinth_delivery_ring->lock);

	return count;
}

/*
 * Copy what the buffer takes.  Returns the bytes wanted for the next message
 * when it did not fit, else 0.  The caller shares the lock.
 */
static Size
copy_some(DeliveryReading *reading)
{
	DeliverySlot state = plinth_delivery_slots[reading->sub->slot];
	uint64 place;
	uint32 number;

	synchronize(&state, reading->sub->id, reading->sub->gaps);
	reading->last = state.seq;
	if (reading->after < state.first_seq - 1)
	{
		/* Lost in the middle: the next poll says so. */
		if (reading->begun)
			return 0;
		reading->lost_upto = reading->after = state.first_seq - 1;
		reading->limit--;
	}
	reading->begun = true;

	/* from an entry on that the chain still has */
	place = state.first_frame;
	number = state.first_entry;
	if (state.cursor_seq >= state.first_seq && state.cursor_seq <= reading->after)
	{
		place = state.cursor_frame;
		number = state.cursor_entry;
	}
	if (reading->cursor_seq >= state.first_seq && reading->cursor_seq <= state.seq)
	{
		place = reading->cursor_frame;
		number = reading->cursor_entry;
	}

	while (place != 0 && reading->count < reading->limit)
	{
		DeliveryFrame *frame = plinth_delivery_frame_at(place);
		DeliveryEntry *entry = &plinth_delivery_entries_of(frame)[number];

		if (entry->seq > reading->after)
		{
			DeliveryRow *row = &reading->rows[reading->count];
			Size needed = (Size) frame->body_length + 1;

			if (reading->used + needed > reading->size)
				return needed;
			row->seq = entry->seq;
			row->action = frame->action;
			row->lsn = frame->lsn;
			row->commit_time = frame->commit_time;
			row->length = frame->body_length;
			row->body = reading->buffer + reading->used;
			memcpy(row->body, plinth_delivery_body_of(frame), frame->body_length);
			row->body[frame->body_length] = '\0';
			reading->used += needed;
			reading->count++;
			reading->after = entry->seq;
			reading->cursor_seq = entry->seq;
			reading->cursor_frame = place;
			reading->cursor_entry = number;
		}
		place = entry->next_frame;
		number = entry->next_entry;
	}
	return 0;
}

/*
 * Keep where a poll ended, so that the next finds its place at once, and
 * count what it missed.
 */
static void
note_read(const DeliveryReading *reading, int64 after_seq)
{
	DeliverySlot *slot = &plinth_delivery_slots[reading->sub->slot];
	int64 missed = 0;

	if (reading->count == 0 && reading->lost_upto == 0)
		return;

	LWLockAcquire(plinth_delivery_ring->lock, LW_EXCLUSIVE);
	if (slot->id == reading->sub->id && slot->gaps == reading->sub->gaps)
	{
		if (reading->count > 0)
		{
			slot->cursor_seq = reading->after;
			slot->cursor_frame = reading->cursor_frame;
			slot->cursor_entry = reading->cursor_entry;
		}
		if (reading->lost_upto > slot->dropped_upto)
		{
			missed = reading->lost_upto - Max(slot->dropped_upto, after_seq);
			slot->dropped += missed;
		}
		slot->dropped_upto = Max(slot->dropped_upto, reading->after);
	}
	LWLockRelease(plinth_delivery_ring->lock);
	if (missed > 0)
		plinth_delivery_count(missed, 0);
}
