/*-------------------------------------------------------------------------
 *
 * router_match.c
 *		The stream worker's index over the subscriptions, and its look-ups.
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
#include "router/router_internal.h"

#include "access/transam.h"
#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"

#define ROUTER_USER_SIZE 37 /* a uuid's text and its zero */

typedef struct RouterGroup RouterGroup;

/* A subscription, as the worker last saw it. */
typedef struct RouterLocal
{
	RouterSubscription sub;
	char user[ROUTER_USER_SIZE]; /* "" for nobody */
	dlist_node node;	/* in a bucket, or among the table's new ones */
	RouterGroup *group; /* NULL while it is in no bucket */
	uint64 hash;		/* of its key, when it is in a bucket */
	bool listed;		/* node is in a list */
	uint32 told_gaps;	/* its reader knows of these */
	bool told_end;
} RouterLocal;

/* A followed table. */
typedef struct RouterTable
{
	Oid relid; /* hash key - MUST BE FIRST */
	int live;
	bool stale;		  /* routes must be compiled again */
	dlist_head fresh; /* subscriptions that are in no group yet */
	dlist_head groups;
} RouterTable;

/* The subscribers of a table that share role and filter column. */
struct RouterGroup
{
	dlist_node node;
	uint32 number; /* never used twice; part of the buckets' keys */
	RouterTable *table;
	Oid role;
	AttrNumber filter_column;
	RouterRoute route; /* sets in the index's context */
	int live;
};

typedef struct RouterBucketKey
{
	uint64 hash; /* of user and filter value */
	uint32 group;
	uint32 padding;
} RouterBucketKey;

typedef struct RouterBucket
{
	RouterBucketKey key; /* hash key - MUST BE FIRST */
	dlist_head subscribers;
} RouterBucket;

/* What a row image says about a column. */
typedef struct RouterField
{
	bool known;
	const char *text; /* NULL for SQL NULL */
} RouterField;

/* A key that a row has for a group, and in which of its images. */
typedef struct RouterKey
{
	const char *user;
	const char *value;
	bool in_old;
	bool in_new;
} RouterKey;

typedef struct RouterKeys
{
	int count;
	RouterKey keys[2 * ROUTER_ROUTE_MAX_COLUMNS];
	bool old_known; /* every column that decides is in the old image */
} RouterKeys;

/* Matches as they are found. */
typedef struct RouterResult
{
	RouterMatch *matches;
	int count;
	int size;
	const WireTransaction *txn;
	TimestampTz now;
} RouterResult;

static MemoryContext index_context = NULL;
static RouterLocal **locals = NULL; /* by slot */
static HTAB *tables = NULL;
static HTAB *buckets = NULL;
static uint64 seen_generation = 0;
static uint32 next_group = 1;
static bool any_stale = false;
static bool notices_due = false;

static RouterTable *followed(Oid relid);
static void register_callbacks(void);
static void on_relcache_change(Datum arg, Oid relid);
static void on_catalog_change(Datum arg, int cacheid, uint32 hash);
static void synchronize(void);
static void take_in(const RouterSubscription *sub);
static void forget(int slot);
static void unlist(RouterLocal *local);
static void settle_table(RouterTable *table);
static void recompile_table(RouterTable *table);
static void place(RouterTable *table, RouterLocal *local);
static RouterGroup *find_group(RouterTable *table, Oid role,
							   AttrNumber filter_column);
static void drop_group(RouterGroup *group);
static bool compile(RouterTable *table, Oid role, AttrNumber filter_column,
					Oid filter_type, RouterRoute *route, char **reason);
static uint64 key_hash(const char *user, const char *value);
static void match_change(RouterResult *result, const WireChange *change,
						 RouterTable *table);
static void match_truncate(RouterResult *result, const WireChange *change,
						   RouterGroup *group);
static void collect_keys(RouterKeys *found, const RouterGroup *group,
						 const WireChange *change);
static void add_key(RouterKeys *found, const char *user, const char *value,
					bool in_old);
static RouterField old_field(const WireChange *change, AttrNumber number);
static RouterField new_field(const WireChange *change, AttrNumber number);
static RouterField value_field(const WireValue *value);
static void emit(RouterResult *result, const WireChange *change,
				 RouterGroup *group, const RouterKey *key, bool old_known);
static bool shows_key(const WireRelation *relation, const Bitmapset *columns);
static void add_match(RouterResult *result, const RouterMatch *match);
static void add_readers(RouterResult *result, RouterMatch *match,
						dlist_head *subscribers, const RouterKey *key,
						uint8 event);
static void await_visible(TransactionId xid);

/*
 * Does somebody follow this table?
 */
bool
plinth_router_wants(Oid relid)
{
	if (!plinth_router_attached())
		return false;
	synchronize();
	return followed(relid) != NULL;
}

/*
 * Find the readers of a transaction's changes.
 */
RouterMatch *
plinth_router_match(const WireTransaction *txn, int *nmatches)
{
	RouterResult result = {.txn = txn};

	*nmatches = 0;
	if (!plinth_router_attached())
		return NULL;
	await_visible(txn->xid);
	if (txn->overflowed)
	{
		plinth_router_gap();
		return NULL;
	}

	/* What is committed by now counts: policies, rights, subscriptions. */
	AcceptInvalidationMessages();
	synchronize();
	result.now = GetCurrentTimestamp();

	/* All routes first: compiling one may make another stale. */
	for (int i = 0; i < txn->nchanges; i++)
	{
		RouterTable *table = followed(txn->changes[i].relation->relid);

		if (table != NULL)
			settle_table(table);
	}
	for (int i = 0; i < txn->nchanges; i++)
	{
		RouterTable *table = followed(txn->changes[i].relation->relid);

		CHECK_FOR_INTERRUPTS();
		if (table != NULL)
			match_change(&result, &txn->changes[i], table);
	}

	*nmatches = result.count;
	return result.matches;
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
	synchronize();

	if (any_stale)
	{
		any_stale = false;
		hash_seq_init(&scan, tables);
		while ((table = hash_seq_search(&scan)) != NULL)
			if (table->live > 0)
				settle_table(table);
	}

	now = GetCurrentTimestamp();
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (locals[i] != NULL && plinth_router_over(&locals[i]->sub, now))
			plinth_router_free(&locals[i]->sub);
	synchronize();
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
	synchronize();
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
	synchronize();
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
static RouterTable *
followed(Oid relid)
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
static void
synchronize(void)
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
		if (!sub->ended)
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
 * Take a subscription out of its bucket, and drop what is empty then.
 */
static void
unlist(RouterLocal *local)
{
	RouterTable *table;
	RouterGroup *group = local->group;

	if (!local->listed)
		return;
	dlist_delete(&local->node);
	local->listed = false;
	local->group = NULL;

	if (group != NULL)
	{
		RouterBucketKey key = {.hash = local->hash, .group = group->number};
		RouterBucket *bucket = hash_search(buckets, &key, HASH_FIND, NULL);

		if (bucket != NULL && dlist_is_empty(&bucket->subscribers))
			hash_search(buckets, &key, HASH_REMOVE, NULL);
		if (--group->live == 0)
			drop_group(group);
	}

	/* The entry itself stays: it may be under a scan of the table of them. */
	table = hash_search(tables, &local->sub.relid, HASH_FIND, NULL);
	if (table != NULL)
		table->live--;
}

/*
 * Bring a table's groups up to date.  Runs in a transaction.
 */
static void
settle_table(RouterTable *table)
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
 * Compile the routes of a table anew.  Where one changed, its subscribers
 * are placed anew; where there is none any more, they end.
 */
static void
recompile_table(RouterTable *table)
{
	table->stale = false;
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterLocal *local = locals[i];

		if (local == NULL || !local->listed || local->group == NULL ||
			local->group->table != table)
			continue;

		/* Its group may have gone with the last of its subscribers. */
		unlist(local);
		table->live++;
		dlist_push_tail(&table->fresh, &local->node);
		local->listed = true;
	}
	Assert(dlist_is_empty(&table->groups));
}

/*
 * Put a new subscription into its bucket, or end it.
 */
static void
place(RouterTable *table, RouterLocal *local)
{
	RouterGroup *group =
		find_group(table, local->sub.role, local->sub.filter_column);
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
		group->route = route;
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
	local->group = group;
	group->live++;
}

/*
 * The group of a role and a filter column, or NULL.
 */
static RouterGroup *
find_group(RouterTable *table, Oid role, AttrNumber filter_column)
{
	dlist_iter iter;

	dlist_foreach (iter, &table->groups)
	{
		RouterGroup *group = dlist_container(RouterGroup, node, iter.cur);

		if (group->role == role && group->filter_column == filter_column)
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
 * The hash of a bucket's key.  Who is in the bucket is compared again.
 */
static uint64
key_hash(const char *user, const char *value)
{
	uint64 hash = DatumGetUInt64(
		hash_any_extended((const unsigned char *) user, strlen(user), 0));

	return DatumGetUInt64(
		hash_any_extended((const unsigned char *) value, strlen(value), hash));
}

/*
 * Find the readers of one change.
 */
static void
match_change(RouterResult *result, const WireChange *change, RouterTable *table)
{
	dlist_iter iter;

	dlist_foreach (iter, &table->groups)
	{
		RouterGroup *group = dlist_container(RouterGroup, node, iter.cur);
		RouterKeys found = {0};

		if (group->route.kind == ROUTER_ROUTE_NONE)
			continue;
		if (change->action == WIRE_TRUNCATE)
		{
			match_truncate(result, change, group);
			continue;
		}
		collect_keys(&found, group, change);
		for (int i = 0; i < found.count; i++)
			emit(result, change, group, &found.keys[i], found.old_known);
	}
}

/*
 * A TRUNCATE has no row; whoever follows deletes of the table is told.
 */
static void
match_truncate(RouterResult *result, const WireChange *change, RouterGroup *group)
{
	HASH_SEQ_STATUS scan;
	RouterBucket *bucket;
	RouterMatch match = {.change = change, .view.action = WIRE_TRUNCATE};

	if (!group->route.truncate)
		return;
	hash_seq_init(&scan, buckets);
	while ((bucket = hash_seq_search(&scan)) != NULL)
		if (bucket->key.group == group->number)
			add_readers(result, &match, &bucket->subscribers, NULL,
						ROUTER_EVENT_DELETE);
	add_match(result, &match);
}

/*
 * The keys under which a row is found in a group, by its images.
 */
static void
collect_keys(RouterKeys *found, const RouterGroup *group, const WireChange *change)
{
	const RouterRoute *route = &group->route;
	bool hashed = route->kind == ROUTER_ROUTE_HASH;
	int nusers = hashed ? route->ncolumns : 1;

	found->old_known = true;
	for (int image = 0; image < 2; image++)
	{
		bool old = image == 0;
		RouterField (*field)(const WireChange *, AttrNumber) =
			old ? old_field : new_field;
		RouterField filter = {.known = true, .text = ""};

		if (old ? change->action == WIRE_INSERT : change->action == WIRE_DELETE)
			continue;
		if (group->filter_column != 0)
			filter = field(change, group->filter_column);
		if (old && !filter.known)
			found->old_known = false;

		for (int i = 0; i < nusers; i++)
		{
			RouterField user = {.known = true, .text = ""};

			if (hashed)
				user = field(change, route->columns[i]);
			if (old && !user.known)
				found->old_known = false;
			if (user.known && filter.known && user.text && filter.text)
				add_key(found, user.text, filter.text, old);
		}
	}
}

/*
 * Note a key, once.
 */
static void
add_key(RouterKeys *found, const char *user, const char *value, bool in_old)
{
	RouterKey *key = NULL;

	for (int i = 0; i < found->count && key == NULL; i++)
		if (strcmp(found->keys[i].user, user) == 0 &&
			strcmp(found->keys[i].value, value) == 0)
			key = &found->keys[i];
	if (key == NULL)
	{
		key = &found->keys[found->count++];
		key->user = user;
		key->value = value;
	}
	if (in_old)
		key->in_old = true;
	else
		key->in_new = true;
}

/*
 * A column of the row before the change.  An UPDATE that logs no old row
 * left the columns of the replica identity as they are.
 */
static RouterField
old_field(const WireChange *change, AttrNumber number)
{
	int i = plinth_wire_column(change->relation, number);
	RouterField unknown = {.known = false};

	if (i < 0)
		return unknown;
	if (change->old_row != NULL)
		return value_field(&change->old_row[i]);
	if (change->new_row != NULL && change->relation->columns[i].in_key)
		return value_field(&change->new_row[i]);
	return unknown;
}

/*
 * A column of the row after the change.
 */
static RouterField
new_field(const WireChange *change, AttrNumber number)
{
	int i = plinth_wire_column(change->relation, number);
	RouterField unknown = {.known = false};

	if (i < 0 || change->new_row == NULL)
		return unknown;
	if (change->new_row[i].state == WIRE_UNCHANGED && change->old_row != NULL)
		return value_field(&change->old_row[i]);
	return value_field(&change->new_row[i]);
}

/*
 * What one value says.
 */
static RouterField
value_field(const WireValue *value)
{
	RouterField field = {.known = false};

	if (value->state == WIRE_NULL)
		field.known = true;
	else if (value->state == WIRE_TEXT)
	{
		field.known = true;
		field.text = value->text;
	}
	return field;
}

/*
 * Add the match of the subscribers under one key.
 */
static void
emit(RouterResult *result, const WireChange *change, RouterGroup *group,
	 const RouterKey *key, bool old_known)
{
	RouterBucketKey at = {.hash = key_hash(key->user, key->value),
						  .group = group->number};
	RouterBucket *bucket = hash_search(buckets, &at, HASH_FIND, NULL);
	const RouterRoute *route = &group->route;
	RouterMatch match = {.change = change, .view.columns = route->readable};
	uint8 event;

	if (bucket == NULL)
		return;

	if (key->in_new &&
		(change->action == WIRE_INSERT || (!key->in_old && old_known)))
	{
		match.view.action = WIRE_INSERT;
		event = ROUTER_EVENT_INSERT;
	}
	else if (key->in_new)
	{
		/*
		 * Where the WAL does not tell whether they saw the old row, they get
		 * no more of it than they know from the new one: the same key.
		 */
		match.view.action = WIRE_UPDATE;
		if (!key->in_old)
			match.view.old_part =
				change->old_row == NULL ? WIRE_OLD_KEY : WIRE_OLD_NONE;
		else
			match.view.old_part =
				change->relation->identity_full ? WIRE_OLD_WHOLE : WIRE_OLD_KEY;
		event = ROUTER_EVENT_UPDATE;
	}
	else
	{
		match.view.action = WIRE_DELETE;
		match.view.old_part =
			change->action == WIRE_DELETE && change->relation->identity_full
				? WIRE_OLD_WHOLE
				: WIRE_OLD_KEY;
		event = ROUTER_EVENT_DELETE;

		/* A removal that cannot say of which row tells nobody anything. */
		if (match.view.old_part == WIRE_OLD_KEY &&
			!shows_key(change->relation, route->readable))
			return;
	}

	/* An UPDATE is published as one, whatever it is to a reader. */
	if (!(route->events & (change->action == WIRE_INSERT   ? ROUTER_EVENT_INSERT
						   : change->action == WIRE_UPDATE ? ROUTER_EVENT_UPDATE
														   : ROUTER_EVENT_DELETE)))
		return;

	add_readers(result, &match, &bucket->subscribers, key, event);
	add_match(result, &match);
}

/*
 * May a reader of these columns know the key of a row?
 */
static bool
shows_key(const WireRelation *relation, const Bitmapset *columns)
{
	for (int i = 0; i < relation->ncolumns; i++)
		if (relation->columns[i].in_key &&
			bms_is_member(relation->columns[i].number, columns))
			return true;
	return false;
}

/*
 * Keep a match, if it has readers.  What it points to is the index's and may
 * go with the next subscription or policy, so it is copied.
 */
static void
add_match(RouterResult *result, const RouterMatch *match)
{
	RouterMatch *kept;

	if (match->nreaders == 0)
		return;
	if (result->matches == NULL)
	{
		result->size = 16;
		result->matches = palloc(result->size * sizeof(RouterMatch));
	}
	else if (result->count == result->size)
	{
		result->size *= 2;
		result->matches =
			repalloc_huge(result->matches, result->size * sizeof(RouterMatch));
	}
	kept = &result->matches[result->count++];
	*kept = *match;
	kept->view.columns = bms_copy(match->view.columns);
}

/*
 * Add those of a bucket who are to be told.
 */
static void
add_readers(RouterResult *result, RouterMatch *match, dlist_head *subscribers,
			const RouterKey *key, uint8 event)
{
	dlist_iter iter;
	int size = match->nreaders;

	dlist_foreach (iter, subscribers)
	{
		RouterLocal *local = dlist_container(RouterLocal, node, iter.cur);
		RouterSubscription *sub = &local->sub;
		RouterReader *reader;

		if ((sub->events & event) == 0 || sub->expires_at <= result->now)
			continue;

		/* Committed, and visible to all, before the subscription began. */
		if (result->txn->commit_lsn < sub->start_lsn &&
			TransactionIdPrecedes(result->txn->xid, sub->start_xmin))
			continue;

		/* Two keys may share a hash. */
		if (key != NULL && ((local->group->route.kind == ROUTER_ROUTE_HASH &&
							 strcmp(local->user, key->user) != 0) ||
							(local->group->filter_column != 0 &&
							 strcmp(sub->filter_value, key->value) != 0)))
			continue;

		if (match->nreaders == size)
		{
			size = Max(8, size * 2);
			match->readers =
				match->readers
					? repalloc_huge(match->readers, size * sizeof(RouterReader))
					: palloc(size * sizeof(RouterReader));
		}
		reader = &match->readers[match->nreaders++];
		reader->slot = sub->slot;
		reader->id = sub->id;
		reader->gaps = sub->gaps;
		memcpy(reader->channel, sub->channel, sizeof(reader->channel));
	}
}

/*
 * Wait until a transaction whose commit record has been read is over for
 * everybody.  Between the two it flushes, and may wait for a standby.
 */
static void
await_visible(TransactionId xid)
{
	if (TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}
