/*-------------------------------------------------------------------------
 *
 * router_index.c
 *		The stream worker's index over the subscriptions.
 *
 * Subscriptions of a table are grouped by role and filter column, so that a
 * group has one route and one way to build a key from a row: the user that a
 * column names, the filter's value, both, or neither.  Each key has a bucket
 * of its subscribers.  A change costs one look-up for each group and key, a
 * number that the schema decides and not how many subscribe.
 *
 * The index is private to the worker.  It takes in what changed in shared
 * memory before each question that is asked of it; routes are compiled when
 * a change needs them and again after an invalidation.
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

static MemoryContext index_context = NULL;
static RouterLocal **locals = NULL; /* by slot */
static HTAB *tables = NULL;
static HTAB *buckets = NULL;
static uint64 seen_generation = 0;
static uint32 next_group = 1;
static bool any_stale = false;
static bool notices_due = false;

static void register_callbacks(void);
static void on_relcache_change(Datum arg, Oid relid);
static void on_catalog_change(Datum arg, int cacheid, uint32 hash);
static void take_in(const RouterSubscription *sub);
static void forget(int slot);
static void unlist(RouterLocal *local);
static void leave_bucket(RouterLocal *local);
static void recompile_table(RouterTable *table);
static void place(RouterTable *table, RouterLocal *local);
static RouterGroup *find_group(RouterTable *table, const RouterSubscription *sub);
static void drop_group(RouterGroup *group);
static bool compile(RouterTable *table, Oid role, AttrNumber filter_column,
					Oid filter_type, RouterRoute *route, char **reason);
static uint64 key_hash(const char *user, const char *value);

/*
 * What is wanted of a table's changes?
 */
int
plinth_router_wants(Oid relid)
{
	if (!plinth_router_attached())
		return WIRE_NOTHING;
	plinth_router_synchronize();
	return plinth_router_followed(relid) != NULL ? WIRE_TEXT_ROWS : WIRE_NOTHING;
}

/*
 * End what is over, and give back what nobody asks for any more.
 */
void
plinth_router_expire(void)
{
	HASH_SEQ_STATUS scan;
	RouterTable *table;
	TimestampTz now;

	if (!plinth_router_attached())
		return;
	AcceptInvalidationMessages();
	plinth_router_synchronize();

	if (any_stale)
	{
		any_stale = false;
		hash_seq_init(&scan, tables);
		while ((table = hash_seq_search(&scan)) != NULL)
			if (table->live > 0)
				plinth_router_settle(table);
	}

	now = GetCurrentTimestamp();
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (locals[i] != NULL && plinth_router_over(&locals[i]->sub, now))
			plinth_router_free(&locals[i]->sub);
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
	if (any_stale || notices_due)
		return true;
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (locals[i] != NULL && plinth_router_over(&locals[i]->sub, now))
			return true;
	return false;
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
	RouterTable *table = hash_search(tables, &relid, HASH_FIND, NULL);

	return table != NULL && table->live > 0 ? table : NULL;
}

/*
 * Start with an empty index.
 */
void
plinth_router_reset_index(void)
{
	HASHCTL info = {0};

	if (index_context == NULL)
	{
		index_context = AllocSetContextCreate(
			TopMemoryContext, "plinth router index", ALLOCSET_DEFAULT_SIZES);
		register_callbacks();
	}
	tables = NULL;
	MemoryContextReset(index_context);

	locals = MemoryContextAllocHuge(
		index_context,
		mul_size(plinth_router_max_subscriptions, sizeof(RouterLocal *)));
	memset(locals, 0,
		   mul_size(plinth_router_max_subscriptions, sizeof(RouterLocal *)));

	info.hcxt = index_context;
	info.keysize = sizeof(RouterBucketKey);
	info.entrysize = sizeof(RouterBucket);
	buckets = hash_create("plinth router buckets", 1024, &info,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(RouterTable);
	tables = hash_create("plinth router tables", 64, &info,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	plinth_router_reset_topics(index_context);
	any_stale = notices_due = false;

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
		table->stale = any_stale = true;
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
		table->stale = any_stale = true;
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
	RouterTable *table;
	bool found;

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
		local = MemoryContextAllocZero(index_context, sizeof(RouterLocal));
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
		{
			table = hash_search(tables, &sub->relid, HASH_ENTER, &found);
			if (!found)
			{
				table->live = 0;
				table->stale = false;
				dlist_init(&table->fresh);
				dlist_init(&table->groups);
			}
			table->live++;
			dlist_push_tail(&table->fresh, &local->node);
			local->listed = true;
		}
	}
	else
	{
		local->sub = *sub;
		if (sub->ended)
			unlist(local);
	}
	if (local->told_gaps != sub->gaps || local->told_end != sub->ended)
		notices_due = true;
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
 * Take a subscription out of the index, and drop what is empty then.
 */
static void
unlist(RouterLocal *local)
{
	RouterTable *table;
	RouterGroup *group = local->group;

	if (local->topic != NULL)
		plinth_router_leave_topic(local);
	if (!local->listed)
		return;
	if (group != NULL)
	{
		leave_bucket(local);
		if (dlist_is_empty(&group->members))
			drop_group(group);
	}
	else
		dlist_delete(&local->node);
	local->listed = false;

	/* The entry itself stays: it may be under a scan of the table of them. */
	table = hash_search(tables, &local->sub.relid, HASH_FIND, NULL);
	if (table != NULL)
		table->live--;
}

/*
 * Take a subscription out of its bucket and its group, which stays.
 */
static void
leave_bucket(RouterLocal *local)
{
	RouterBucketKey key = {.hash = local->hash, .group = local->group->number};
	RouterBucket *bucket = hash_search(buckets, &key, HASH_FIND, NULL);

	dlist_delete(&local->node);
	dlist_delete(&local->group_node);
	local->group = NULL;
	if (bucket != NULL && dlist_is_empty(&bucket->subscribers))
		hash_search(buckets, &key, HASH_REMOVE, NULL);
}

/*
 * Bring a table's groups up to date.  Runs in a transaction.
 */
void
plinth_router_settle(RouterTable *table)
{
	dlist_mutable_iter iter;

	if (table->stale)
		recompile_table(table);

	dlist_foreach_modify (iter, &table->fresh)
	{
		RouterLocal *local = dlist_container(RouterLocal, node, iter.cur);

		place(table, local);
	}
}

/*
 * Have the routes of a table compiled anew: its subscribers are new again.
 */
static void
recompile_table(RouterTable *table)
{
	dlist_mutable_iter group_iter;
	dlist_mutable_iter iter;

	table->stale = false;
	dlist_foreach_modify (group_iter, &table->groups)
	{
		RouterGroup *group = dlist_container(RouterGroup, node, group_iter.cur);

		dlist_foreach_modify (iter, &group->members)
		{
			RouterLocal *local =
				dlist_container(RouterLocal, group_node, iter.cur);

			leave_bucket(local);
			dlist_push_tail(&table->fresh, &local->node);
		}
		drop_group(group);
	}
}

/*
 * Put a new subscription into its bucket, or end it.
 */
static void
place(RouterTable *table, RouterLocal *local)
{
	RouterGroup *group = find_group(table, &local->sub);
	RouterBucketKey key = {0};
	RouterBucket *bucket;
	bool found;

	if (group == NULL)
	{
		RouterRoute route;
		char *reason;

		if (!compile(table, local->sub.role, local->sub.filter_column,
					 local->sub.filter_type, &route, &reason))
		{
			plinth_router_end(&local->sub, reason);
			unlist(local);
			return;
		}
		group = MemoryContextAllocZero(index_context, sizeof(RouterGroup));
		group->number = next_group++;
		group->table = table;
		group->role = local->sub.role;
		group->filter_column = local->sub.filter_column;
		group->filter_type = local->sub.filter_type;
		group->route = route;
		dlist_init(&group->members);
		dlist_push_tail(&table->groups, &group->node);
	}
	if (local->sub.route != group->route.kind)
		plinth_router_set_route(&local->sub, group->route.kind);

	local->hash =
		key_hash(group->route.kind == ROUTER_ROUTE_HASH ? local->user : "",
				 group->filter_column ? local->sub.filter_value : "");
	key.hash = local->hash;
	key.group = group->number;
	bucket = hash_search(buckets, &key, HASH_ENTER, &found);
	if (!found)
		dlist_init(&bucket->subscribers);
	dlist_delete(&local->node);
	dlist_push_tail(&bucket->subscribers, &local->node);
	dlist_push_tail(&group->members, &local->group_node);
	local->group = group;
}

/*
 * The group that a subscription belongs to, or NULL.
 */
static RouterGroup *
find_group(RouterTable *table, const RouterSubscription *sub)
{
	dlist_iter iter;

	dlist_foreach (iter, &table->groups)
	{
		RouterGroup *group = dlist_container(RouterGroup, node, iter.cur);

		if (group->role == sub->role &&
			group->filter_column == sub->filter_column &&
			group->filter_type == sub->filter_type)
			return group;
	}
	return NULL;
}

/*
 * Drop a group that is empty.
 */
static void
drop_group(RouterGroup *group)
{
	dlist_delete(&group->node);
	bms_free(group->route.readable);
	pfree(group);
}

/*
 * Compile a route into the index's memory; or why not.
 */
static bool
compile(RouterTable *table, Oid role, AttrNumber filter_column, Oid filter_type,
		RouterRoute *route, char **reason)
{
	RouterProblem problem;
	MemoryContext old;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
	{
		*reason = "the role does not exist any more";
		return false;
	}
	if (!plinth_router_compile(table->relid, role, false, route, &problem))
	{
		*reason = problem.message;
		return false;
	}
	if (filter_column != 0 &&
		(!bms_is_member(filter_column, route->readable) ||
		 get_atttype(table->relid, filter_column) != filter_type))
	{
		*reason = "the filter's column changed or may not be read any more";
		return false;
	}

	old = MemoryContextSwitchTo(index_context);
	route->readable = bms_copy(route->readable);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * Those of a group with this key, or NULL.
 */
dlist_head *
plinth_router_bucket(const RouterGroup *group, const char *user, const char *value)
{
	RouterBucketKey key = {.hash = key_hash(user, value), .group = group->number};
	RouterBucket *bucket = hash_search(buckets, &key, HASH_FIND, NULL);

	return bucket ? &bucket->subscribers : NULL;
}

/*
 * The hash of a bucket's key.
 */
static uint64
key_hash(const char *user, const char *value)
{
	uint64 hash = DatumGetUInt64(
		hash_any_extended((const unsigned char *) user, strlen(user), 0));

	return DatumGetUInt64(
		hash_any_extended((const unsigned char *) value, strlen(value), hash));
}
