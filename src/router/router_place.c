/*-------------------------------------------------------------------------
 *
 * router_place.c
 *		Where in the index a subscription stands.
 *
 * All that is built for a table, its routes and groups, is in a context of
 * the table's and is thrown away when one of the things changes that it was
 * compiled from; its subscribers are then placed again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_ask.h"
#include "router/router_index.h"
#include "router/router_internal.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/subtransaction.h"

/* A filter that is being read. */
typedef struct FilterReading
{
	RouterTable *table;
	RouterLocal *local;
	const RouterPath *path;
	const char *text;
	Relation rel;
} FilterReading;

static HTAB *buckets = NULL;
static HTAB *identities = NULL;
static uint32 next_group = 1;

static void recompile_table(RouterTable *table);
static void describe_table(RouterTable *table);
static void place(RouterTable *table, RouterLocal *local);
static RouterPath *find_path(RouterTable *table, Oid role, char **reason);
static RouterGroup *find_group(RouterTable *table, RouterPath *path,
							   AttrNumber column);
static bool read_filter(RouterTable *table, RouterLocal *local,
						const RouterPath *path, const char *text, char **reason);
static void read_filter_step(void *arg);
static RouterIdentity *find_identity(const RouterSubscription *sub);
static void add_places(RouterLocal *local);
static void add_place(RouterLocal *local, const char *user, const char *value);
static uint64 key_hash(const char *user, const char *value);

/*
 * Start with no buckets and identities; the index's context is empty.
 */
void
plinth_router_reset_places(void)
{
	HASHCTL info = {0};

	info.hcxt = plinth_router_index_context;
	info.keysize = sizeof(RouterBucketKey);
	info.entrysize = sizeof(RouterBucket);
	buckets = hash_create("plinth router buckets", 1024, &info,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	info.keysize = sizeof(RouterIdentityKey);
	info.entrysize = sizeof(RouterIdentity);
	identities = hash_create("plinth router identities", 1024, &info,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
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
	if (dlist_is_empty(&table->fresh))
		return;

	if (table->context == NULL)
		describe_table(table);
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
	dlist_iter path_iter;
	dlist_iter group_iter;
	dlist_mutable_iter iter;

	table->stale = false;
	dlist_foreach (path_iter, &table->routes)
	{
		RouterPath *path = dlist_container(RouterPath, node, path_iter.cur);

		dlist_foreach (group_iter, &path->groups)
		{
			RouterGroup *group =
				dlist_container(RouterGroup, node, group_iter.cur);

			dlist_foreach_modify (iter, &group->members)
			{
				RouterLocal *local =
					dlist_container(RouterLocal, group_node, iter.cur);

				plinth_router_leave(local);
				dlist_push_tail(&table->fresh, &local->node);
			}
		}
	}
	dlist_init(&table->routes);
	plinth_router_forget_plans(table->relid);
	if (table->context != NULL)
		MemoryContextDelete(table->context);
	table->context = NULL;
	table->desc = NULL;
	table->tuples = false;
}

/*
 * Take down how the table's rows lie.
 */
static void
describe_table(RouterTable *table)
{
	Relation rel = RelationIdGetRelation(table->relid);

	table->context =
		AllocSetContextCreate(plinth_router_index_context,
							  "plinth router table", ALLOCSET_SMALL_SIZES);
	if (RelationIsValid(rel))
	{
		MemoryContext old = MemoryContextSwitchTo(table->context);

		table->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
		table->layout = plinth_wire_layout(table->desc);
		MemoryContextSwitchTo(old);
		RelationClose(rel);
	}
}

/*
 * Put a new subscription into its group and buckets, or end it.
 */
static void
place(RouterTable *table, RouterLocal *local)
{
	char *reason = NULL;
	RouterPath *path = find_path(table, local->sub.role, &reason);
	RouterGroup *group;
	char *text;

	if (path == NULL)
	{
		plinth_router_fail(local, reason);
		return;
	}
	text = plinth_router_text_read(&local->sub.filter);
	if (text == NULL && !plinth_router_text_is_none(&local->sub.filter))
	{
		/* given back in the meantime; the next look takes it out */
		return;
	}
	if (text != NULL && !read_filter(table, local, path, text, &reason))
	{
		plinth_router_fail(local, reason);
		return;
	}

	group = find_group(table, path,
					   local->filter != NULL ? local->filter->hash_column : 0);
	if (local->sub.route != path->route.kind)
		plinth_router_set_route(&local->sub, path->route.kind);
	dlist_delete(&local->node);
	dlist_push_tail(&group->members, &local->group_node);
	local->group = group;
	local->identity = find_identity(&local->sub);
	add_places(local);
	if (path->route.tuples ||
		(local->filter != NULL && local->filter->nconditions > 0))
		table->tuples = true;
}

/*
 * The route of a role, compiled when it is asked for first; or why there is
 * none.
 */
static RouterPath *
find_path(RouterTable *table, Oid role, char **reason)
{
	RouterProblem problem;
	RouterPath *path;
	MemoryContext old;
	dlist_iter iter;
	bool compiled;

	dlist_foreach (iter, &table->routes)
	{
		path = dlist_container(RouterPath, node, iter.cur);
		if (path->role == role)
			return path;
	}

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
	{
		*reason = "the role does not exist any more";
		return NULL;
	}
	old = MemoryContextSwitchTo(table->context);
	path = palloc0(sizeof(RouterPath));
	path->role = role;
	dlist_init(&path->groups);
	compiled = plinth_router_compile(table->relid, role, &path->route, &problem);
	MemoryContextSwitchTo(old);
	if (!compiled)
	{
		*reason = problem.message;
		return NULL;
	}
	dlist_push_tail(&table->routes, &path->node);
	return path;
}

/*
 * The group of those whose filters hash on a column.
 */
static RouterGroup *
find_group(RouterTable *table, RouterPath *path, AttrNumber column)
{
	RouterGroup *group;
	dlist_iter iter;

	dlist_foreach (iter, &path->groups)
	{
		group = dlist_container(RouterGroup, node, iter.cur);
		if (group->column == column)
			return group;
	}
	group = MemoryContextAllocZero(table->context, sizeof(RouterGroup));
	group->number = next_group++;
	group->path = path;
	group->column = column;
	dlist_init(&group->members);
	dlist_push_tail(&path->groups, &group->node);
	return group;
}

/*
 * Read a subscription's filter again, which was right when it was made; or
 * why it is not any more.
 */
static bool
read_filter(RouterTable *table, RouterLocal *local, const RouterPath *path,
			const char *text, char **reason)
{
	FilterReading reading = {.table = table,
							 .local = local,
							 .path = path,
							 .text = text,
							 .rel = RelationIdGetRelation(table->relid)};
	bool good;

	if (!RelationIsValid(reading.rel))
	{
		*reason = "the table does not exist any more";
		return false;
	}
	good = plinth_try(read_filter_step, &reading) == NULL;
	RelationClose(reading.rel);

	if (!good)
		*reason = "the filter's column changed or may not be read any more";
	return good;
}

static void
read_filter_step(void *arg)
{
	FilterReading *reading = arg;
	MemoryContext old = MemoryContextSwitchTo(reading->table->context);

	reading->local->filter = plinth_router_read_filter(
		reading->rel, reading->text, reading->path->route.readable);
	MemoryContextSwitchTo(old);
}

/*
 * The identity of a subscription.  Claims that are not to be had any more are
 * those of one that is being given back: it gets nobody's.
 */
static RouterIdentity *
find_identity(const RouterSubscription *sub)
{
	RouterIdentityKey key = {
		.claims = sub->claims, .role = sub->role, .stated = sub->stated};
	RouterIdentity *identity;
	bool found;

	identity = hash_search(identities, &key, HASH_ENTER, &found);
	if (!found)
	{
		char *claims = plinth_router_text_read(&sub->claims);

		identity->uses = 0;
		identity->inquiry = NULL;
		identity->inquiry_round = 0;
		identity->claims =
			claims ? MemoryContextStrdup(plinth_router_index_context, claims)
				   : NULL;
	}
	identity->uses++;
	return identity;
}

/*
 * Put a subscription into the buckets in which it is to be found.
 */
static void
add_places(RouterLocal *local)
{
	const RouterRoute *route = &local->group->path->route;
	bool by_user = route->by_user && local->user[0] != '\0';
	int nvalues = local->group->column != 0 ? local->filter->nvalues : 1;

	local->nplaces = 0;
	local->places = NULL;
	if (!by_user && !route->by_value)
		return;
	local->places = MemoryContextAlloc(plinth_router_index_context,
									   2 * nvalues * sizeof(RouterPlace));
	for (int i = 0; i < nvalues; i++)
	{
		const char *value =
			local->group->column != 0 ? local->filter->values[i] : "";

		if (by_user)
			add_place(local, local->user, value);
		if (route->by_value)
			add_place(local, "", value);
	}
}

static void
add_place(RouterLocal *local, const char *user, const char *value)
{
	RouterPlace *place = &local->places[local->nplaces++];
	RouterBucketKey key = {0};
	RouterBucket *bucket;
	bool found;

	place->local = local;
	place->user = user;
	place->value = value;
	place->hash = key.hash = key_hash(user, value);
	key.group = local->group->number;
	bucket = hash_search(buckets, &key, HASH_ENTER, &found);
	if (!found)
		dlist_init(&bucket->places);
	dlist_push_tail(&bucket->places, &place->node);
}

/*
 * Take a subscription out of its group, which stays.
 */
void
plinth_router_leave(RouterLocal *local)
{
	for (int i = 0; i < local->nplaces; i++)
	{
		RouterPlace *place = &local->places[i];
		RouterBucketKey key = {.hash = place->hash,
							   .group = local->group->number};
		RouterBucket *bucket = hash_search(buckets, &key, HASH_FIND, NULL);

		dlist_delete(&place->node);
		if (bucket != NULL && dlist_is_empty(&bucket->places))
			hash_search(buckets, &key, HASH_REMOVE, NULL);
	}
	if (local->places != NULL)
		pfree(local->places);
	local->places = NULL;
	local->nplaces = 0;

	if (--local->identity->uses == 0)
	{
		if (local->identity->claims != NULL)
			pfree(local->identity->claims);
		hash_search(identities, &local->identity->key, HASH_REMOVE, NULL);
	}
	local->identity = NULL;
	if (local->filter != NULL)
		MemoryContextDelete(local->filter->context);
	local->filter = NULL;
	dlist_delete(&local->group_node);
	local->group = NULL;
}

/*
 * The places of a group under a key, or NULL.
 */
dlist_head *
plinth_router_bucket(const RouterGroup *group, const char *user, const char *value)
{
	RouterBucketKey key = {.hash = key_hash(user, value), .group = group->number};
	RouterBucket *bucket = hash_search(buckets, &key, HASH_FIND, NULL);

	return bucket ? &bucket->places : NULL;
}

/*
 * The hash of a bucket's key.
 */
static uint64
key_hash(const char *user, const char *value)
{
	uint64 hash = DatumGetUInt64(
		hash_any_extended((const unsigned char *) user, strlen(user), 0));

	if (value[0] == '\0')
		return hash;
	return DatumGetUInt64(
		hash_any_extended((const unsigned char *) value, strlen(value), hash));
}
