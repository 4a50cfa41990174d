/*-------------------------------------------------------------------------
 *
 * router_index.c
 *		The subscriptions of the attached database, as the worker has them.
 *
 * A change costs one look-up for each group and key (router_place.c), a
 * number that the schema decides and not how many subscribe.  The index takes
 * in what changed in shared memory before each question that is asked of it;
 * routes are compiled when a change needs them and again after an
 * invalidation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_index.h"
#include "router/router_internal.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

MemoryContext plinth_router_index_context = NULL;

static RouterLocal **locals = NULL; /* by slot */
static HTAB *tables = NULL;
static RouterTable *last_table = NULL; /* that was asked for */
static uint64 seen_generation = 0;
static uint64 settle_wanted = 0; /* grows when a table has to be settled */
static uint64 settle_done = 0;	 /* as much of it has been worked off */
static dlist_head waiting;		 /* for a replay */
static bool notices_due = false;
static bool costs_due = false;

static void register_callbacks(void);
static void on_relcache_change(Datum arg, Oid relid);
static void on_catalog_change(Datum arg, int cacheid, uint32 hash);
static void take_in(const RouterSubscription *sub);
static void enlist(RouterLocal *local);
static bool has_past(const RouterLocal *local, const RouterTurn *turn);
static void refuse_past(RouterLocal *local);
static void forget(int slot);
static void unlist(RouterLocal *local);

/*
 * What is wanted of a table's changes?
 */
int
plinth_router_wants(Oid relid)
{
	RouterTable *table;

	if (!plinth_router_attached())
		return WIRE_NOTHING;
	plinth_router_synchronize();
	table = plinth_router_followed(relid);
	if (table == NULL)
		return WIRE_NOTHING;

	/* what will be compiled only later may want tuples */
	if (table->tuples || table->stale || table->waiting > 0 ||
		!dlist_is_empty(&table->fresh))
		return WIRE_TEXT_ROWS | WIRE_TUPLES;
	return WIRE_TEXT_ROWS;
}

/*
 * End what is over, and give back what nobody asks for any more.
 */
void
plinth_router_expire(void)
{
	TimestampTz now;

	if (!plinth_router_attached())
		return;
	AcceptInvalidationMessages();
	plinth_router_synchronize();

	plinth_router_settle_all();
	plinth_router_recheck_topics();

	costs_due = false;
	now = GetCurrentTimestamp();
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterLocal *local = locals[i];

		if (local == NULL)
			continue;
		if (local->judged > 0)
		{
			plinth_router_add_cost(&local->sub, local->judged, local->judged_us);
			local->judged = local->judged_us = 0;
		}
		if (plinth_router_over(&local->sub, now))
			plinth_router_free(&local->sub);
	}
	plinth_router_synchronize();
}

/*
 * Is there something for plinth_router_expire() or plinth_router_notices()?
 */
bool
plinth_router_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!plinth_router_attached())
		return false;
	plinth_router_synchronize();
	if (settle_done != settle_wanted || notices_due || costs_due ||
		plinth_router_topics_due())
		return true;
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (locals[i] != NULL && plinth_router_over(&locals[i]->sub, now))
			return true;
	return false;
}

/*
 * Bring all tables up to date that are not.  Runs in a transaction, while
 * nobody holds on to a route or a group.
 */
void
plinth_router_settle_all(void)
{
	HASH_SEQ_STATUS scan;
	RouterTable *table;

	/* compiling the one may make another stale */
	while (settle_done != settle_wanted)
	{
		uint64 done = settle_wanted;

		hash_seq_init(&scan, tables);
		while ((table = hash_seq_search(&scan)) != NULL)
			if (table->live > 0)
				plinth_router_settle(table);
		settle_done = done;
	}
}

/*
 * There are costs that expire() has to add up.
 */
void
plinth_router_note_costs(void)
{
	costs_due = true;
}

/*
 * A gap for every subscriber of the attached database.
 */
void
plinth_router_gap(void)
{
	if (plinth_router_attached())
		plinth_router_mark_gap();
}

/*
 * Tell of gaps and ends, each once.
 */
void
plinth_router_notices(RouterNotice notice, void *arg)
{
	if (!plinth_router_attached())
		return;
	plinth_router_synchronize();
	if (!notices_due)
		return;
	notices_due = false;

	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterLocal *local = locals[i];

		if (local == NULL || (local->told_gaps == local->sub.gaps &&
							  local->told_end == local->sub.ended))
			continue;
		local->told_gaps = local->sub.gaps;
		local->told_end = local->sub.ended;
		notice(&local->sub, arg);
	}
}

/*
 * The entry of a table that has subscribers, or NULL.
 */
RouterTable *
plinth_router_followed(Oid relid)
{
	/* changes of one table come in a row */
	if (last_table == NULL || last_table->relid != relid)
		last_table = hash_search(tables, &relid, HASH_FIND, NULL);

	return last_table != NULL && last_table->live > 0 ? last_table : NULL;
}

/*
 * Start with an empty index.
 */
void
plinth_router_reset_index(void)
{
	HASHCTL info = {0};

	if (plinth_router_index_context == NULL)
	{
		plinth_router_index_context = AllocSetContextCreate(
			TopMemoryContext, "plinth router index", ALLOCSET_DEFAULT_SIZES);
		register_callbacks();
	}
	tables = NULL;
	last_table = NULL;
	MemoryContextReset(plinth_router_index_context);

	locals = MemoryContextAllocHuge(
		plinth_router_index_context,
		mul_size(plinth_router_max_subscriptions, sizeof(RouterLocal *)));
	memset(locals, 0,
		   mul_size(plinth_router_max_subscriptions, sizeof(RouterLocal *)));

	plinth_router_reset_places();
	info.hcxt = plinth_router_index_context;
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(RouterTable);
	tables = hash_create("plinth router tables", 64, &info,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	plinth_router_reset_topics(plinth_router_index_context);
	dlist_init(&waiting);
	notices_due = costs_due = false;

	/* what is there already is looked at without waiting for a change */
	settle_wanted++;

	/*
	 * Far enough from any generation that the first look takes in every slot:
	 * the counter starts at zero and grows by one.
	 */
	seen_generation = PG_UINT64_MAX / 2;
}

/*
 * Everything that a route was compiled from tells when it changes.
 */
static void
register_callbacks(void)
{
	static const int caches[] = {AUTHOID,
								 AUTHMEMROLEMEM,
								 PROCOID,
								 NAMESPACEOID,
								 PUBLICATIONOID,
								 PUBLICATIONREL,
								 PUBLICATIONNAMESPACE};

	CacheRegisterRelcacheCallback(on_relcache_change, (Datum) 0);
	for (size_t i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], on_catalog_change, (Datum) 0);
}

/*
 * A table, its policies or its rights changed; all when relid is zero.
 */
static void
on_relcache_change(Datum arg, Oid relid)
{
	RouterTable *table;

	if (tables == NULL)
		return;
	if (!OidIsValid(relid))
	{
		on_catalog_change(arg, 0, 0);
		return;
	}
	table = hash_search(tables, &relid, HASH_FIND, NULL);
	if (table != NULL)
	{
		table->stale = true;
		settle_wanted++;
	}
}

/*
 * A role, a function or the like changed, which any route may depend on.
 */
static void
on_catalog_change(Datum arg, int cacheid, uint32 hash)
{
	HASH_SEQ_STATUS scan;
	RouterTable *table;

	if (tables == NULL)
		return;
	hash_seq_init(&scan, tables);
	while ((table = hash_seq_search(&scan)) != NULL)
	{
		table->stale = true;
		settle_wanted++;
	}
}

/*
 * Take in what changed in shared memory.
 */
void
plinth_router_synchronize(void)
{
	RouterSubscription *changed;
	int count;
	bool all;

	changed = plinth_router_changed(&seen_generation, &count, &all);
	if (changed == NULL)
		return;

	if (all)
	{
		bool *there = palloc0(plinth_router_max_subscriptions * sizeof(bool));

		for (int i = 0; i < count; i++)
			there[changed[i].slot] = true;
		for (int i = 0; i < plinth_router_max_subscriptions; i++)
			if (!there[i])
				forget(i);
		pfree(there);
	}
	for (int i = 0; i < count; i++)
		take_in(&changed[i]);
	pfree(changed);
}

/*
 * Take in the present state of one slot.
 */
static void
take_in(const RouterSubscription *sub)
{
	RouterLocal *local = locals[sub->slot];

	if (sub->id == 0 || sub->database != MyDatabaseId)
	{
		forget(sub->slot);
		return;
	}
	if (local != NULL && local->sub.id != sub->id)
	{
		forget(sub->slot);
		local = NULL;
	}
	if (local == NULL)
	{
		local = MemoryContextAllocZero(plinth_router_index_context,
									   sizeof(RouterLocal));
		if (sub->has_user)
			strlcpy(local->user,
					DatumGetCString(DirectFunctionCall1(
						uuid_out, UUIDPGetDatum(&sub->user_id))),
					sizeof(local->user));
		locals[sub->slot] = local;
		local->sub = *sub;
		if (!sub->ended && !OidIsValid(sub->relid))
			plinth_router_follow_topic(local);
		else if (!sub->ended)
			enlist(local);
	}
	else
	{
		bool renewed = local->sub.renewals != sub->renewals;
		bool released = local->waiting && XLogRecPtrIsInvalid(sub->since);

		local->sub = *sub;
		if (sub->ended)
			unlist(local);
		else if (released || (renewed && local->group != NULL))
		{
			unlist(local);
			enlist(local);
		}
	}
	if (local->told_gaps != sub->gaps || local->told_end != sub->ended)
		notices_due = true;
}

/*
 * Have a subscription placed when its table is settled next, or when what it
 * wants of the past is replayed.
 */
static void
enlist(RouterLocal *local)
{
	RouterTable *table;
	bool found;

	table = hash_search(tables, &local->sub.relid, HASH_ENTER, &found);
	if (!found)
	{
		Oid relid = table->relid;

		memset(table, 0, sizeof(*table));
		table->relid = relid;
		dlist_init(&table->fresh);
		dlist_init(&table->routes);
	}
	table->live++;
	local->waiting = !XLogRecPtrIsInvalid(local->sub.since) && !local->let_in;
	if (local->waiting)
	{
		table->waiting++;
		dlist_push_tail(&waiting, &local->node);
	}
	else
		dlist_push_tail(&table->fresh, &local->node);
	local->listed = true;
	settle_wanted++;
}

/*
 * Drop a slot that is free, or another database's.
 */
static void
forget(int slot)
{
	RouterLocal *local = locals[slot];

	if (local == NULL)
		return;
	unlist(local);
	locals[slot] = NULL;
	pfree(local);
}

/*
 * Take a subscription out of the index.
 */
static void
unlist(RouterLocal *local)
{
	RouterTable *table;

	if (local->topic != NULL)
		plinth_router_leave_topic(local);
	if (!local->listed)
		return;
	if (local->group != NULL)
		plinth_router_leave(local);
	else
		dlist_delete(&local->node);
	local->listed = false;

	/* The entry itself stays: it may be under a scan of the table of them. */
	table = hash_search(tables, &local->sub.relid, HASH_FIND, NULL);
	if (table != NULL)
	{
		table->live--;
		if (local->waiting)
			table->waiting--;
	}
	local->waiting = false;
}

/*
 * Is there a subscription that wants what was committed before it began?
 */
bool
plinth_router_replay_due(void)
{
	if (!plinth_router_attached())
		return false;
	plinth_router_synchronize();
	return !dlist_is_empty(&waiting);
}

/*
 * Let those in who wait.  What has failed before is done again.
 */
XLogRecPtr
plinth_router_begin_replay(const RouterTurn *turn)
{
	XLogRecPtr from = PG_UINT64_MAX;

	while (!dlist_is_empty(&waiting))
	{
		RouterLocal *local =
			dlist_container(RouterLocal, node, dlist_pop_head_node(&waiting));
		RouterTable *table = plinth_router_followed(local->sub.relid);

		Assert(table != NULL);
		local->waiting = false;
		table->waiting--;
		local->let_in = local->replaying = true;
		dlist_push_tail(&table->fresh, &local->node);
		settle_wanted++;
	}
	plinth_router_settle_all();
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterLocal *local = locals[i];

		if (local == NULL || !local->replaying)
			continue;
		if (local->group == NULL || XLogRecPtrIsInvalid(local->sub.since))
			local->replaying = false;
		else if (has_past(local, turn))
			from = Min(from, local->sub.since);
		else
			refuse_past(local);
	}

	return from;
}

/*
 * Is nothing missing of what a subscription wants of the past?
 */
static bool
has_past(const RouterLocal *local, const RouterTurn *turn)
{
	bool tuples = local->group->path->route.tuples ||
				  (local->filter != NULL && local->filter->nconditions > 0);
	int wanted = tuples ? WIRE_TEXT_ROWS | WIRE_TUPLES : WIRE_TEXT_ROWS;

	return local->sub.since >=
		   turn->replay(local->sub.relid, wanted, turn->replay_arg);
}

/*
 * A subscription gets a gap instead of what it wants of the past.
 */
static void
refuse_past(RouterLocal *local)
{
	local->sub.gaps = plinth_router_mark_gap_of(&local->sub);
	local->sub.since = InvalidXLogRecPtr;
	local->replaying = false;
	plinth_router_forget_since(&local->sub);
}

/*
 * The replay is over.
 */
void
plinth_router_end_replay(void)
{
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (locals[i] != NULL)
			locals[i]->replaying = false;
}

/*
 * A replay broke off.
 */
void
plinth_router_break_replay(void)
{
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (locals[i] != NULL && locals[i]->replaying)
			refuse_past(locals[i]);
}

/*
 * A subscription that cannot be placed is over.
 */
void
plinth_router_fail(RouterLocal *local, const char *reason)
{
	plinth_router_end(&local->sub, reason);
	unlist(local);
}
