/*-------------------------------------------------------------------------
 *
 * delivery_ring.c
 *		The ring of recent messages.
 *
 * A frame is a message and the list of its readers.  Positions count bytes
 * ever written, so that a position tells its age; a frame lies in one piece.
 * The entries of one reader are chained from the oldest to the newest, and
 * when the oldest frame has to go its readers' chains begin one later.  So a
 * reader finds its messages without a look at those of others, and the
 * numbers tell exactly what it missed: they count up by one, and the ring
 * holds an unbroken range that ends with the last.
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

#include "base/settings.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define DELIVERY_TRANCHE "plinth delivery"

/* A frame may take this part of the ring. */
#define DELIVERY_MAX_SHARE 4

/* Readers of one frame; more get a frame of their own with the same body. */
#define DELIVERY_MAX_READERS 1024

/* What a reader copies under one hold of the lock, unless one is larger. */
#define DELIVERY_COPY_BYTES (256 * 1024)

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
	uint64 next_frame; /* position; 0 ends the chain */
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
	uint64 first_frame; /* oldest in the ring, 0: none */
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
	uint64 cursor_frame; /* of the last that was copied */
	uint32 cursor_entry;
	char *buffer;
	Size size;
	Size used;
} DeliveryReading;

typedef struct DeliveryShared
{
	LWLock *lock;
	uint64 size; /* of the ring in bytes */
	uint64 head; /* position of the next frame */
	uint64 tail; /* position of the oldest */
} DeliveryShared;

int plinth_delivery_ring_kb = 64 * 1024;
int plinth_delivery_event_kb = 1024;

/* Links to shared memory; NULL when the library was not preloaded. */
static DeliveryShared *delivery = NULL;
static DeliverySlot *delivery_slots = NULL;
static char *ring = NULL;

static Size ring_size(void);
static DeliveryFrame *frame_at(uint64 position);
static DeliveryEntry *entries_of(DeliveryFrame *frame);
static char *body_of(DeliveryFrame *frame);
static void synchronize(DeliverySlot *slot, uint64 id, uint32 gaps);
static int put_frame(const DeliveryMessage *message,
					 const RouterReader *readers, int nreaders, int64 *seqs);
static void make_room(uint64 bytes);
static void drop_oldest(void);
static void append_entry(DeliverySlot *slot, uint64 position, uint32 number);
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

	delivery = ShmemInitStruct(DELIVERY_TRANCHE, sizeof(DeliveryShared), &found);
	if (!found)
	{
		delivery->lock = &(GetNamedLWLockTranche(DELIVERY_TRANCHE))->lock;
		delivery->size = ring_size();

		/* One turn ahead, so that no frame is at position 0. */
		delivery->head = delivery->tail = delivery->size;
	}
	ring = ShmemInitStruct("plinth delivery ring", ring_size(), &found);
	delivery_slots = ShmemInitStruct("plinth delivery slots", slots_size, &found);
	if (!found)
		memset(delivery_slots, 0, slots_size);
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
	DeliverySlot *slot = &delivery_slots[sub->slot];
	int64 seq;

	LWLockAcquire(delivery->lock, LW_EXCLUSIVE);
	synchronize(slot, sub->id, sub->gaps);
	seq = slot->gap_seq;
	LWLockRelease(delivery->lock);
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

		LWLockAcquire(delivery->lock, LW_SHARED);
		wanted = copy_some(&reading);
		LWLockRelease(delivery->lock);
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
	DeliverySlot *slot = &delivery_slots[sub->slot];

	*delivered = *dropped = *queue_bytes = 0;
	LWLockAcquire(delivery->lock, LW_SHARED);
	if (slot->id == sub->id)
	{
		*delivered = slot->delivered;
		*dropped = slot->dropped;
		*queue_bytes = slot->queue_bytes;
	}
	LWLockRelease(delivery->lock);
}

/*
 * Bytes of the ring in use.
 */
int64
plinth_delivery_ring_used(void)
{
	int64 used;

	LWLockAcquire(delivery->lock, LW_SHARED);
	used = delivery->head - delivery->tail;
	LWLockRelease(delivery->lock);

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

static DeliveryFrame *
frame_at(uint64 position)
{
	return (DeliveryFrame *) (ring + position % delivery->size);
}

static DeliveryEntry *
entries_of(DeliveryFrame *frame)
{
	return (DeliveryEntry *) ((char *) frame + MAXALIGN(sizeof(DeliveryFrame)));
}

static char *
body_of(DeliveryFrame *frame)
{
	return (char *) (entries_of(frame) + frame->nreaders);
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
	Size share = delivery->size / DELIVERY_MAX_SHARE;
	int count = Min(nreaders, DELIVERY_MAX_READERS);
	DeliveryFrame *frame;
	DeliveryEntry *entries;
	uint64 position;
	Size length;
	bool fits;

	fits = head + sizeof(DeliveryEntry) + MAXALIGN(message->length) <= share;
	if (fits)
		count = Min((Size) count, (share - head - MAXALIGN(message->length)) /
									  sizeof(DeliveryEntry));
	length = MAXALIGN(head + count * sizeof(DeliveryEntry) + message->length);

	LWLockAcquire(delivery->lock, LW_EXCLUSIVE);
	for (int i = 0; i < count; i++)
	{
		DeliverySlot *slot = &delivery_slots[readers[i].slot];

		synchronize(slot, readers[i].id, readers[i].gaps);
		seqs[i] = ++slot->seq;
		if (!fits)
			cut(slot);
	}
	if (!fits)
	{
		LWLockRelease(delivery->lock);
		plinth_delivery_count(count, count);
		return -count;
	}

	make_room(length);
	position = delivery->head;
	delivery->head += length;
	frame = frame_at(position);
	frame->length = length;
	frame->body_length = message->length;
	frame->lsn = message->lsn;
	frame->commit_time = message->commit_time;
	frame->action = message->action;
	frame->nreaders = count;
	entries = entries_of(frame);
	for (int i = 0; i < count; i++)
	{
		DeliverySlot *slot = &delivery_slots[readers[i].slot];

		entries[i].id = readers[i].id;
		entries[i].seq = seqs[i];
		entries[i].next_frame = 0;
		entries[i].next_entry = 0;
		entries[i].slot = readers[i].slot;
		append_entry(slot, position, i);
		slot->delivered++;
		slot->queue_bytes += message->length;
	}
	memcpy(body_of(frame), message->body, message->length);
	LWLockRelease(delivery->lock);

	return count;
}

/*
 * Free room for a frame at the head; what is left before the ring's end is
 * passed over when it is too small.  The caller holds the lock.
 */
static void
make_room(uint64 bytes)
{
	uint64 rest = delivery->size - delivery->head % delivery->size;

	if (rest >= bytes)
		rest = 0;
	while (delivery->head + rest + bytes - delivery->tail > delivery->size)
		drop_oldest();
	if (rest >= MAXALIGN(sizeof(DeliveryFrame)))
	{
		DeliveryFrame *filler = frame_at(delivery->head);

		filler->length = rest;
		filler->nreaders = 0;
	}
	delivery->head += rest;
}

/*
 * Let the oldest frame go.  The caller holds the lock.
 */
static void
drop_oldest(void)
{
	uint64 rest = delivery->size - delivery->tail % delivery->size;
	DeliveryFrame *frame = frame_at(delivery->tail);
	DeliveryEntry *entries = entries_of(frame);

	/* A filler without a head of its own. */
	if (rest < MAXALIGN(sizeof(DeliveryFrame)))
	{
		delivery->tail += rest;
		return;
	}

	for (uint32 i = 0; i < frame->nreaders; i++)
	{
		DeliverySlot *slot = &delivery_slots[entries[i].slot];

		if (slot->id != entries[i].id || slot->first_frame != delivery->tail ||
			slot->first_entry != i)
			continue;
		slot->first_frame = entries[i].next_frame;
		slot->first_entry = entries[i].next_entry;
		slot->first_seq = entries[i].seq + 1;
		slot->queue_bytes -= frame->body_length;
		if (slot->first_frame == 0)
			slot->last_frame = 0;
	}
	delivery->tail += frame->length;
}

/*
 * Chain a new entry to a reader's last.  The caller holds the lock.
 */
static void
append_entry(DeliverySlot *slot, uint64 position, uint32 number)
{
	if (slot->last_frame == 0)
	{
		slot->first_frame = position;
		slot->first_entry = number;
		slot->first_seq = slot->seq;
	}
	else
	{
		DeliveryEntry *last =
			&entries_of(frame_at(slot->last_frame))[slot->last_entry];

		last->next_frame = position;
		last->next_entry = number;
	}
	slot->last_frame = position;
	slot->last_entry = number;
}

/*
 * Copy what the buffer takes.  Returns the bytes wanted for the next message
 * when it did not fit, else 0.  The caller shares the lock.
 */
static Size
copy_some(DeliveryReading *reading)
{
	DeliverySlot state = delivery_slots[reading->sub->slot];
	uint64 position;
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

	position = state.first_frame;
	number = state.first_entry;
	if (state.cursor_frame >= delivery->tail && state.cursor_seq <= reading->after)
	{
		position = state.cursor_frame;
		number = state.cursor_entry;
	}
	if (reading->cursor_frame >= delivery->tail)
	{
		position = reading->cursor_frame;
		number = reading->cursor_entry;
	}

	while (position != 0 && reading->count < reading->limit)
	{
		DeliveryFrame *frame = frame_at(position);
		DeliveryEntry *entry = &entries_of(frame)[number];

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
			memcpy(row->body, body_of(frame), frame->body_length);
			row->body[frame->body_length] = '\0';
			reading->used += needed;
			reading->count++;
			reading->after = entry->seq;
			reading->cursor_frame = position;
			reading->cursor_entry = number;
		}
		position = entry->next_frame;
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
	DeliverySlot *slot = &delivery_slots[reading->sub->slot];
	int64 missed = 0;

	if (reading->count == 0 && reading->lost_upto == 0)
		return;

	LWLockAcquire(delivery->lock, LW_EXCLUSIVE);
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
	LWLockRelease(delivery->lock);
	if (missed > 0)
		plinth_delivery_count(missed, 0);
}
