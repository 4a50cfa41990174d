/*-------------------------------------------------------------------------
 *
 * presence_news.c
 *		What the stream worker tells the readers of topics.
 *
 * See presence_internal.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "presence/presence_internal.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

static PresenceDatabase *mine = NULL; /* while this process is the worker */

static void take_up_due(int64 now);
static PresenceEntry *next_due(int64 now);
static void put_off(PresenceEntry *entry);
static void on_worker_exit(int code, Datum arg);

/*
 * This process tells the news of its database.
 */
void
plinth_presence_attach_worker(void)
{
	static bool registered = false;

	if (plinth_presence == NULL)
		return;
	if (!registered)
	{
		before_shmem_exit(on_worker_exit, (Datum) 0);
		registered = true;
	}
	plinth_presence_detach_worker();

	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_presence->ndatabases && mine == NULL; i++)
		if (plinth_presence_databases[i].database == InvalidOid)
			mine = &plinth_presence_databases[i];
	if (mine != NULL)
	{
		mine->database = MyDatabaseId;
		mine->pid = MyProcPid;
		mine->later_due = PRESENCE_NEVER;
		mine->fresh = mine->later = (PresenceList){PRESENCE_NONE, PRESENCE_NONE};
		for (int i = 0; i < plinth_presence->high_water; i++)
			if (plinth_presence_table[i].database == MyDatabaseId)
			{
				plinth_presence_table[i].known = true;
				plinth_presence_table[i].place = PRESENCE_TOLD;
			}
	}
	LWLockRelease(plinth_presence->lock);

	if (mine == NULL)
		elog(ERROR, "no entry is free for the stream worker");
}

/*
 * Nobody tells the news of the database any more.  Who has left without being
 * told of is gone.
 */
void
plinth_presence_detach_worker(void)
{
	if (mine == NULL)
		return;

	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_presence->high_water; i++)
	{
		PresenceEntry *entry = &plinth_presence_table[i];

		if (entry->database != mine->database)
			continue;
		if (!entry->here)
			plinth_presence_free(entry);
		else
			entry->place = PRESENCE_TOLD;
	}
	mine->database = InvalidOid;
	mine->pid = 0;
	mine = NULL;
	LWLockRelease(plinth_presence->lock);
}

/*
 * Is something to be told now?  Reads without the lock: whoever puts
 * something into the list sets the worker's latch afterwards.
 */
bool
plinth_presence_has_news(void)
{
	if (mine == NULL)
		return false;
	return *(volatile int *) &mine->fresh.first != PRESENCE_NONE ||
		   (mine->later_due != PRESENCE_NEVER &&
			mine->later_due <= plinth_presence_now().ms);
}

/*
 * The next thing to be told.
 */
bool
plinth_presence_next_news(PresenceEvent *event, PresenceState *state)
{
	int64 now = plinth_presence_now().ms;
	char *body = palloc(PRESENCE_BODY_MAX + PLINTH_TOPIC_SIZE);
	char *topic = body + PRESENCE_BODY_MAX;
	PresenceEntry *entry;

	if (mine == NULL)
		return false;

	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	if (mine->later_due <= now)
		take_up_due(now);
	entry = next_due(now);
	if (entry != NULL)
	{
		plinth_presence_get_state(entry, state);
		plinth_presence_get_body(entry, body);
		memcpy(topic, entry->topic, PLINTH_TOPIC_SIZE);
		*event = !entry->here	? PRESENCE_LEAVE
				 : entry->known ? PRESENCE_UPDATE
								: PRESENCE_JOIN;
		entry->known = entry->here;
		entry->told_ms = now;
		if (!entry->here)
		{
			/* at rest it needs its place, and no memory */
			(void) plinth_presence_set_body(entry, NULL, 0);
			put_off(entry);
		}
	}
	LWLockRelease(plinth_presence->lock);

	if (entry == NULL)
	{
		pfree(body);
		return false;
	}
	state->topic = topic;
	plinth_presence_unpack(body, state);
	return true;
}

/*
 * Take the first entry out of the list that may be told now; what was told
 * a moment ago is put off.
 */
static PresenceEntry *
next_due(int64 now)
{
	while (mine->fresh.first != PRESENCE_NONE)
	{
		PresenceEntry *entry = &plinth_presence_table[mine->fresh.first];

		plinth_presence_unlink(&mine->fresh, entry, PRESENCE_LINK(news));
		entry->place = PRESENCE_TOLD;
		if (!entry->here || now - entry->told_ms >= PRESENCE_TELL_MS)
			return entry;
		put_off(entry);
	}
	return NULL;
}

/*
 * Put an entry off until a second after it was told last.
 */
static void
put_off(PresenceEntry *entry)
{
	plinth_presence_push(&mine->later, entry, PRESENCE_LINK(news));
	entry->place = PRESENCE_LATER;
	mine->later_due = Min(mine->later_due, entry->told_ms + PRESENCE_TELL_MS);
}

/*
 * Of those that were put off, take up whose second is over, and let go of
 * those that have rested.
 */
static void
take_up_due(int64 now)
{
	PresenceList later = mine->later;

	mine->later = (PresenceList){PRESENCE_NONE, PRESENCE_NONE};
	mine->later_due = PRESENCE_NEVER;
	while (later.first != PRESENCE_NONE)
	{
		PresenceEntry *entry = &plinth_presence_table[later.first];

		plinth_presence_unlink(&later, entry, PRESENCE_LINK(news));
		if (now - entry->told_ms < PRESENCE_TELL_MS)
			put_off(entry);
		else if (!entry->here)
		{
			entry->place = PRESENCE_TOLD;
			plinth_presence_free(entry);
		}
		else
		{
			plinth_presence_push(&mine->fresh, entry, PRESENCE_LINK(news));
			entry->place = PRESENCE_FRESH;
		}
	}
}

/*
 * The worker is going.
 */
static void
on_worker_exit(int code, Datum arg)
{
	plinth_presence_detach_worker();
}
