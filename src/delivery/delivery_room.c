/*-------------------------------------------------------------------------
 *
 * delivery_room.c
 *		Room in the ring: what has to go, and from whom.
 *
 * The ring has two halves that come round each by itself.  A message whose
 * readers all have much in the ring goes to the busy half.  So those who are
 * sent much push out their own messages and each other's, and not those of
 * somebody who is sent little and reads now and then.
 *
 * See delivery_ring.c for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery_ring.h"

/* Whose messages take more than this part of a half is sent much. */
#define DELIVERY_BUSY_SHARE 8

#define DELIVERY_QUIET 0
#define DELIVERY_BUSY 1

static int half_for(const RouterReader *readers, int count);
static void make_room(int half, uint64 bytes);
static void drop_oldest(int half);
static void forget_through(DeliverySlot *slot, const DeliveryEntry *entry);

DeliveryFrame *
plinth_delivery_frame_at(uint64 place)
{
	int half = place % MAXIMUM_ALIGNOF;
	uint64 start = (place - half) % plinth_delivery_ring->size;

	return (DeliveryFrame *) (plinth_delivery_ring_bytes +
							  half * plinth_delivery_ring->size + start);
}

DeliveryEntry *
plinth_delivery_entries_of(DeliveryFrame *frame)
{
	return (DeliveryEntry *) ((char *) frame + MAXALIGN(sizeof(DeliveryFrame)));
}

char *
plinth_delivery_body_of(DeliveryFrame *frame)
{
	return (char *) (plinth_delivery_entries_of(frame) + frame->nreaders);
}

uint64
plinth_delivery_take_room(const RouterReader *readers, int count, uint64 bytes)
{
	int half = half_for(readers, count);
	uint64 place;

	make_room(half, bytes);
	place = plinth_delivery_ring->halves[half].head + half;
	plinth_delivery_ring->halves[half].head += bytes;

	return place;
}

/*
 * The half of the ring that a frame for these readers goes to.
 */
static int
half_for(const RouterReader *readers, int count)
{
	int64 much = plinth_delivery_ring->size / DELIVERY_BUSY_SHARE;

	for (int i = 0; i < count; i++)
		if (plinth_delivery_slots[readers[i].slot].queue_bytes <= much)
			return DELIVERY_QUIET;
	return DELIVERY_BUSY;
}

/*
 * Free room for a frame at the head of a half; what is left before its end is
 * passed over when it is too small.
 */
static void
make_room(int half, uint64 bytes)
{
	DeliveryHalf *space = &plinth_delivery_ring->halves[half];
	uint64 rest =
		plinth_delivery_ring->size - space->head % plinth_delivery_ring->size;

	if (rest >= bytes)
		rest = 0;
	while (space->head + rest + bytes - space->tail > plinth_delivery_ring->size)
		drop_oldest(half);
	if (rest >= MAXALIGN(sizeof(DeliveryFrame)))
	{
		DeliveryFrame *filler = plinth_delivery_frame_at(space->head + half);

		filler->length = rest;
		filler->nreaders = 0;
	}
	space->head += rest;
}

/*
 * Let the oldest frame of a half go.
 */
static void
drop_oldest(int half)
{
	DeliveryHalf *space = &plinth_delivery_ring->halves[half];
	uint64 rest =
		plinth_delivery_ring->size - space->tail % plinth_delivery_ring->size;
	DeliveryFrame *frame = plinth_delivery_frame_at(space->tail + half);
	DeliveryEntry *entries = plinth_delivery_entries_of(frame);

	/* A filler without a head of its own. */
	if (rest < MAXALIGN(sizeof(DeliveryFrame)))
	{
		space->tail += rest;
		return;
	}

	for (uint32 i = 0; i < frame->nreaders; i++)
	{
		DeliverySlot *slot = &plinth_delivery_slots[entries[i].slot];

		if (slot->id == entries[i].id && entries[i].seq >= slot->first_seq)
			forget_through(slot, &entries[i]);
	}
	space->tail += frame->length;
}

/*
 * Let a reader's chain begin behind an entry of it; what is older and in the
 * other half goes with it, because no number may be missing in the middle.
 */
static void
forget_through(DeliverySlot *slot, const DeliveryEntry *entry)
{
	while (slot->first_seq <= entry->seq)
	{
		DeliveryFrame *frame = plinth_delivery_frame_at(slot->first_frame);
		DeliveryEntry *first =
			&plinth_delivery_entries_of(frame)[slot->first_entry];

		slot->first_seq = first->seq + 1;
		slot->queue_bytes -= frame->body_length;
		slot->first_frame = first->next_frame;
		slot->first_entry = first->next_entry;
	}
	if (slot->first_frame == 0)
		slot->last_frame = 0;
}

/*
 * Chain a new entry to a reader's last.
 */
void
plinth_delivery_append_entry(DeliverySlot *slot, uint64 place, uint32 number)
{
	if (slot->last_frame == 0)
	{
		slot->first_frame = place;
		slot->first_entry = number;
		slot->first_seq = slot->seq;
	}
	else
	{
		DeliveryEntry *last = &plinth_delivery_entries_of(
			plinth_delivery_frame_at(slot->last_frame))[slot->last_entry];

		last->next_frame = place;
		last->next_entry = number;
	}
	slot->last_frame = place;
	slot->last_entry = number;
}
