/*-------------------------------------------------------------------------
 *
 * presence_change.c
 *		Who comes, changes and goes, as sessions say so or end.
 *
 * See presence_internal.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "presence/presence_internal.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* An edit with what it needs, taken before the lock. */
typedef struct PresenceWork
{
	const PresenceCaller *caller;
	const PresenceEdit *edit;
	PresenceNow now;
	char *packed; /* the new body, where the edit has a whole one */
	uint32 length;
	char *old; /* room for the body that is there */
	bool wake;
} PresenceWork;

static PresenceOutcome edit_locked(PresenceWork *work);
static PresenceEntry *enter_locked(PresenceWork *work, PresenceOutcome *outcome);
static bool apply(PresenceWork *work, PresenceEntry *entry, bool *changed);
static bool apply_body(PresenceWork *work, PresenceEntry *entry, bool *changed);
static void sweep_locked(PresenceNow now);
static void register_session(void);
static int session_number(void);
static void wake_worker(void);
static void on_session_exit(int code, Datum arg);

/*
 * Change a connection's entry, or keep it alive.
 */
PresenceOutcome
plinth_presence_edit(const PresenceCaller *caller, const PresenceEdit *edit)
{
	PresenceWork work = {.caller = caller, .edit = edit};
	PresenceOutcome outcome;

	register_session();
	work.now = plinth_presence_now();
	work.packed = palloc(PRESENCE_BODY_MAX);
	work.old = palloc(PRESENCE_BODY_MAX);
	if (edit->whole != NULL)
		work.length = plinth_presence_pack(edit->whole, work.packed);

	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	outcome = edit_locked(&work);
	LWLockRelease(plinth_presence->lock);

	if (work.wake)
		wake_worker();
	pfree(work.packed);
	pfree(work.old);
	return outcome;
}

/*
 * A connection leaves; nothing happens when it is not there.
 */
void
plinth_presence_untrack(const PresenceCaller *caller)
{
	TimestampTz now = GetCurrentTimestamp();
	PresenceEntry *entry;
	bool wake = false;

	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	entry = plinth_presence_find(caller->topic, &caller->user_id,
								 &caller->connection_id);
	if (entry != NULL && entry->here)
		wake = plinth_presence_leave(entry, now);
	LWLockRelease(plinth_presence->lock);

	if (wake)
		wake_worker();
}

/*
 * A change is to be told.
 */
bool
plinth_presence_note(PresenceEntry *entry)
{
	PresenceDatabase *database = plinth_presence_find_database(entry->database);

	if (!entry->here &&
		(database == NULL || (!entry->known && entry->place != PRESENCE_LATER)))
	{
		plinth_presence_free(entry);
		return false;
	}
	if (database == NULL || entry->place == PRESENCE_FRESH)
		return false;

	/* what was put off for its rate goes at once when it is the last */
	if (entry->place == PRESENCE_LATER)
	{
		if (entry->here || !entry->known)
			return false;
		plinth_presence_unlink(&database->later, entry, PRESENCE_LINK(news));
	}
	plinth_presence_push(&database->fresh, entry, PRESENCE_LINK(news));
	entry->place = PRESENCE_FRESH;
	return true;
}

/*
 * An entry leaves.
 */
bool
plinth_presence_leave(PresenceEntry *entry, TimestampTz last_seen)
{
	entry->here = false;
	entry->status = PRESENCE_OFFLINE;
	entry->last_seen = last_seen;
	return plinth_presence_note(entry);
}

/*
 * Whoever was silent for too long has left.
 */
void
plinth_presence_expire(void)
{
	PresenceNow now = plinth_presence_now();

	if (plinth_presence == NULL)
		return;
	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_presence->high_water; i++)
	{
		PresenceEntry *entry = &plinth_presence_table[i];

		if (entry->database == MyDatabaseId && entry->here &&
			plinth_presence_is_over(entry, now))
			(void) plinth_presence_leave(entry, entry->last_seen);
	}
	LWLockRelease(plinth_presence->lock);
}

/*
 * The user that this session acts for is another one now: what it held is
 * held no more.  Called when settings are assigned, also while a transaction
 * ends: does nothing but count.
 */
void
plinth_presence_identity_changed(void)
{
	if (plinth_presence_sessions != NULL && MyProc != NULL)
		(void) pg_atomic_fetch_add_u64(
			&plinth_presence_sessions[session_number()], 1);
}

/*
 * plinth_presence_edit() under the lock.
 */
static PresenceOutcome
edit_locked(PresenceWork *work)
{
	const PresenceCaller *caller = work->caller;
	PresenceOutcome outcome = PRESENCE_DONE;
	PresenceEntry *entry;
	bool there;
	bool entered;
	bool changed = false;

	entry = plinth_presence_find(caller->topic, &caller->user_id,
								 &caller->connection_id);
	there = entry != NULL && entry->here &&
			!plinth_presence_is_over(entry, work->now);
	if (!there && work->edit->whole == NULL)
		return PRESENCE_UNKNOWN;

	entered = entry == NULL;
	if (entered)
	{
		entry = enter_locked(work, &outcome);
		if (entry == NULL)
			return outcome;
	}
	if (!apply(work, entry, &changed))
	{
		if (entered)
			plinth_presence_free(entry);
		return PRESENCE_FULL;
	}
	if (!there)
	{
		entry->here = true;
		entry->online_at = work->now.time;
		changed = true;
	}
	entry->last_seen = work->now.time;
	entry->spoken_ms = work->now.ms;
	entry->expires_at = caller->expires_at;
	entry->session = session_number();
	entry->identity =
		pg_atomic_read_u64(&plinth_presence_sessions[entry->session]);
	if (changed)
		work->wake = plinth_presence_note(entry);

	return PRESENCE_DONE;
}

/*
 * A new entry; or NULL, and why there is none.
 */
static PresenceEntry *
enter_locked(PresenceWork *work, PresenceOutcome *outcome)
{
	const PresenceCaller *caller = work->caller;
	PresenceEntry *entry;

	if (plinth_presence_count_user(&caller->user_id) >= PRESENCE_MAX_PER_USER)
		sweep_locked(work->now);
	*outcome = PRESENCE_USER_LIMIT;
	if (plinth_presence_count_user(&caller->user_id) >= PRESENCE_MAX_PER_USER)
		return NULL;

	entry = plinth_presence_new(caller->topic, &caller->user_id,
								&caller->connection_id);
	if (entry == NULL)
	{
		sweep_locked(work->now);
		entry = plinth_presence_new(caller->topic, &caller->user_id,
									&caller->connection_id);
	}
	*outcome = PRESENCE_FULL;
	return entry;
}

/*
 * Do what the edit asks for.  False, and nothing done, when there is no
 * memory for it; *changed is set when readers have something to learn.
 */
static bool
apply(PresenceWork *work, PresenceEntry *entry, bool *changed)
{
	const PresenceEdit *edit = work->edit;
	PresenceStatus status = entry->status;
	PresenceDevice device = entry->device;

	if ((edit->whole != NULL || edit->page != NULL) &&
		!apply_body(work, entry, changed))
		return false;
	if (edit->whole != NULL)
	{
		status = edit->whole->status;
		device = edit->whole->device;
	}
	else if (edit->status != NULL)
		status = *edit->status;

	if (status != entry->status || device != entry->device)
		*changed = true;
	entry->status = status;
	entry->device = device;
	return true;
}

/*
 * Give an entry the edit's texts.
 */
static bool
apply_body(PresenceWork *work, PresenceEntry *entry, bool *changed)
{
	plinth_presence_get_body(entry, work->old);
	if (work->edit->whole == NULL)
	{
		PresenceState state;

		plinth_presence_unpack(work->old, &state);
		state.current_page = *work->edit->page;
		work->length = plinth_presence_pack(&state, work->packed);
	}
	if (work->length == entry->body_length &&
		memcmp(work->packed, work->old, work->length) == 0)
		return true;
	*changed = true;
	return plinth_presence_set_body(entry, work->packed, work->length);
}

/*
 * Let go of everybody whose time is over, of whatever database; one without a
 * worker has nobody else that would.  Those that rest have to make way.
 */
static void
sweep_locked(PresenceNow now)
{
	for (int i = 0; i < plinth_presence->high_water; i++)
	{
		PresenceEntry *entry = &plinth_presence_table[i];

		if (!OidIsValid(entry->database))
			continue;
		if (entry->here && plinth_presence_is_over(entry, now))
			(void) plinth_presence_leave(entry, entry->last_seen);
		else if (!entry->here && !entry->known)
			plinth_presence_free(entry);
	}
}

/*
 * So that the end of this session is the end of what it holds.
 */
static void
register_session(void)
{
	static bool registered = false;

	if (registered)
		return;
	before_shmem_exit(on_session_exit, (Datum) 0);
	registered = true;
}

/*
 * The place of this process among the counters.
 */
static int
session_number(void)
{
	return (int) (MyProc - ProcGlobal->allProcs);
}

/*
 * Tell the stream worker that there is news.
 */
static void
wake_worker(void)
{
	if (plinth_presence_wake != NULL)
		plinth_presence_wake(MyDatabaseId);
}

/*
 * The session is going, and with it whoever it holds here.
 */
static void
on_session_exit(int code, Datum arg)
{
	int session = session_number();
	uint64 identity = pg_atomic_read_u64(&plinth_presence_sessions[session]);
	TimestampTz now = GetCurrentTimestamp();
	bool wake = false;

	LWLockAcquire(plinth_presence->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_presence->high_water; i++)
	{
		PresenceEntry *entry = &plinth_presence_table[i];

		if (OidIsValid(entry->database) && entry->here &&
			entry->session == session && entry->identity == identity)
			wake |= plinth_presence_leave(entry, now);
	}
	LWLockRelease(plinth_presence->lock);

	/* the next process in this place is another one */
	plinth_presence_identity_changed();
	if (wake)
		wake_worker();
}
