/*-------------------------------------------------------------------------
 *
 * router_match.c
 *		Which subscribers are told of a change, and as what.
 *
 * A row's images give keys, a key gives a bucket of the index, and whether a
 * key comes from the old image, the new, or both says what the change is to
 * those in the bucket.  What an image does not tell is unknown: nothing is
 * sent on the strength of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_index.h"
#include "router/router_internal.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

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
static void match_message(RouterResult *result, const WireChange *change);
static void add_match(RouterResult *result, const RouterMatch *match);
static void add_reader(RouterResult *result, RouterMatch *match,
					   const RouterLocal *local, uint8 event);
static bool has_key(const RouterLocal *local, const RouterKey *key);
static void await_visible(TransactionId xid);

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
	plinth_router_synchronize();
	result.now = GetCurrentTimestamp();

	/* All routes first: compiling one may make another stale. */
	for (int i = 0; i < txn->nchanges; i++)
	{
		RouterTable *table;

		if (txn->changes[i].relation == NULL)
			continue;
		table = plinth_router_followed(txn->changes[i].relation->relid);
		if (table != NULL)
			plinth_router_settle(table);
	}
	for (int i = 0; i < txn->nchanges; i++)
	{
		RouterTable *table;

		CHECK_FOR_INTERRUPTS();
		if (txn->changes[i].relation == NULL)
		{
			match_message(&result, &txn->changes[i]);
			continue;
		}
		table = plinth_router_followed(txn->changes[i].relation->relid);
		if (table != NULL)
			match_change(&result, &txn->changes[i], table);
	}

	*nmatches = result.count;
	return result.matches;
}

/*
 * Find the readers of a message to a topic.
 */
static void
match_message(RouterResult *result, const WireChange *change)
{
	RouterMatch match = {.change = change, .view.action = WIRE_MESSAGE};

	match.readers = plinth_router_topic_readers(change->message->topic,
												ROUTER_EVENT_BROADCAST,
												result->txn, &match.nreaders);
	add_match(result, &match);
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
	RouterMatch match = {.change = change, .view.action = WIRE_TRUNCATE};
	dlist_iter iter;

	if (!group->route.truncate)
		return;
	dlist_foreach (iter, &group->members)
		add_reader(result, &match,
				   dlist_container(RouterLocal, group_node, iter.cur),
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
	dlist_head *bucket = plinth_router_bucket(group, key->user, key->value);
	const RouterRoute *route = &group->route;
	RouterMatch match = {.change = change, .view.columns = route->readable};
	dlist_iter iter;
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

	dlist_foreach (iter, bucket)
	{
		RouterLocal *local = dlist_container(RouterLocal, node, iter.cur);

		if (has_key(local, key))
			add_reader(result, &match, local, event);
	}
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
 * Add a subscription to a match, if it is to be told.
 */
static void
add_reader(RouterResult *result, RouterMatch *match, const RouterLocal *local,
		   uint8 event)
{
	if ((local->sub.events & event) != 0)
		match->readers =
			plinth_router_add_reader(match->readers, &match->nreaders,
									 &local->sub, result->txn, result->now);
}

/*
 * Add a subscription to an array of readers.
 */
RouterReader *
plinth_router_add_reader(RouterReader *readers, int *nreaders,
						 const RouterSubscription *sub,
						 const WireTransaction *txn, TimestampTz now)
{
	RouterReader *reader;

	if (sub->expires_at <= now)
		return readers;

	/* Committed, and visible to all, before the subscription began. */
	if (txn != NULL && txn->commit_lsn < sub->start_lsn &&
		TransactionIdPrecedes(txn->xid, sub->start_xmin))
		return readers;

	/* The array grows whenever the count is a power of two. */
	if (*nreaders == 0)
		readers = palloc(sizeof(RouterReader));
	else if ((*nreaders & (*nreaders - 1)) == 0)
		readers =
			repalloc_huge(readers, (Size) *nreaders * 2 * sizeof(RouterReader));
	reader = &readers[(*nreaders)++];
	reader->slot = sub->slot;
	reader->id = sub->id;
	reader->gaps = sub->gaps;
	memcpy(reader->channel, sub->channel, sizeof(reader->channel));

	return readers;
}

/*
 * Is this the subscription's key?  Two keys may share a bucket.
 */
static bool
has_key(const RouterLocal *local, const RouterKey *key)
{
	const RouterGroup *group = local->group;

	return (group->route.kind != ROUTER_ROUTE_HASH ||
			strcmp(local->user, key->user) == 0) &&
		   (group->filter_column == 0 ||
			strcmp(local->sub.filter_value, key->value) == 0);
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
