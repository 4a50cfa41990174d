/*-------------------------------------------------------------------------
 *
 * router_find.c
 *		A change's candidates, and what has to be asked about them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_match.h"

#include "executor/executor.h"

/* A verdict that has not been reached. */
#define UNSET ((RouterVerdict) -1)

/* A filter to be run under guard. */
typedef struct GuardedFilter
{
	RouterFilter *filter;
	const RouterImage *image;
	RouterVerdict verdict;
} GuardedFilter;

static uint64 next_stamp = 1;

static RouterCase *add_case(RouterRound *round, const WireTransaction *txn,
							const WireChange *change);
static void load_images(RouterRound *round, RouterTable *table,
						const WireChange *change, RouterImage *images);
static void find_all(RouterRound *round, RouterPath *path);
static void find_of_group(RouterRound *round, RouterGroup *group,
						  const RouterAudience *audiences,
						  const RouterImage *images);
static RouterVerdict find_of_image(RouterRound *round, RouterGroup *group,
								   const RouterAudience *audience,
								   const RouterImage *image, int which,
								   const char *value);
static void find_in_bucket(RouterRound *round, RouterGroup *group,
						   const char *user, const char *value, int which,
						   const RouterAudience *audience,
						   RouterVerdict otherwise);
static bool has_value(const RouterLocal *local, const char *value);
static void touch(RouterRound *round, RouterLocal *local, int which,
				  RouterVerdict verdict);
static void filter(RouterCandidate *candidate, const RouterImage *images);
static void run_filter(void *arg);
static void add_questions(RouterRound *round, RouterCandidate *candidate,
						  const WireChange *change, const RouterImage *images);
static RouterInquiry *find_inquiry(RouterRound *round, RouterLocal *local);
static int add_question(RouterRound *round, RouterInquiry *inquiry,
						const WireChange *change, HeapTuple tuple, int which);

/*
 * Add a change with its candidates to a round.
 */
void
plinth_router_find(RouterRound *round, const WireTransaction *txn,
				   const WireChange *change)
{
	RouterTable *table;
	RouterImage images[2];
	dlist_iter path_iter;
	dlist_iter iter;

	round->txn = txn;
	if (change->relation == NULL)
	{
		/* who follows a topic gets nothing of the past */
		if (!round->replay)
			(void) add_case(round, txn, change);
		return;
	}
	table = plinth_router_followed(change->relation->relid);
	if (table == NULL || table->context == NULL)
		return;
	if (change->action != WIRE_TRUNCATE)
		load_images(round, table, change, images);

	dlist_foreach (path_iter, &table->routes)
	{
		RouterPath *path = dlist_container(RouterPath, node, path_iter.cur);
		RouterAudience audiences[2]; /* of the images that are there */
		RouterCase *found;
		int first = round->ncandidates;

		if (path->route.kind == ROUTER_ROUTE_NONE)
			continue;
		next_stamp++;
		if (change->action == WIRE_TRUNCATE)
			find_all(round, path);
		else
		{
			for (int i = 0; i < 2; i++)
				if (images[i].there)
					plinth_router_audience(&audiences[i], path->route.term,
										   &images[i], round->econtext);
			dlist_foreach (iter, &path->groups)
				find_of_group(round, dlist_container(RouterGroup, node, iter.cur),
							  audiences, images);
			for (int i = first; i < round->ncandidates; i++)
				add_questions(round, &round->candidates[i], change, images);
		}
		if (round->ncandidates == first)
			continue;

		found = add_case(round, txn, change);
		found->path = path;
		found->first = first;
		found->count = round->ncandidates - first;
	}
}

static RouterCase *
add_case(RouterRound *round, const WireTransaction *txn, const WireChange *change)
{
	RouterCase *added;

	round->cases = plinth_router_grow(round->context, round->cases, round->ncases,
									  &round->cases_size, sizeof(RouterCase));
	added = &round->cases[round->ncases++];
	memset(added, 0, sizeof(*added));
	added->txn = txn;
	added->change = change;
	return added;
}

/*
 * Let go what the round took.
 */
void
plinth_router_end_round(RouterRound *round)
{
	for (int i = 0; i < 2; i++)
		if (round->slots[i] != NULL)
			ExecDropSingleTupleTableSlot(round->slots[i]);
	FreeExprContext(round->econtext, true);
}

/*
 * Make room for one more element of an array that grows.
 */
void *
plinth_router_grow(MemoryContext context, void *array, int count, int *size,
				   Size element)
{
	if (count < *size)
		return array;
	*size = Max(*size * 2, 16);
	if (array == NULL)
		return MemoryContextAllocHuge(context, *size * element);
	return repalloc_huge(array, *size * element);
}

/*
 * What the change says of the row before and after.
 */
static void
load_images(RouterRound *round, RouterTable *table, const WireChange *change,
			RouterImage *images)
{
	if (round->table != table)
	{
		for (int i = 0; i < 2; i++)
			if (round->slots[i] != NULL)
			{
				ExecDropSingleTupleTableSlot(round->slots[i]);
				round->slots[i] = NULL;
			}
		round->table = table;
	}
	for (int i = 0; i < 2; i++)
	{
		plinth_router_image(&images[i], change, i == ROUTER_OLD, table->layout);
		plinth_router_load(&images[i], table->desc, &round->slots[i]);
	}
}

/*
 * A TRUNCATE has no row; whoever follows deletes of the table is told.
 */
static void
find_all(RouterRound *round, RouterPath *path)
{
	dlist_iter group_iter;
	dlist_iter iter;

	if (!path->route.truncate)
		return;
	dlist_foreach (group_iter, &path->groups)
		dlist_foreach (
			iter, &dlist_container(RouterGroup, node, group_iter.cur)->members)
			touch(round, dlist_container(RouterLocal, group_node, iter.cur),
				  ROUTER_OLD, ROUTER_YES);
}

/*
 * Candidates of one group.
 */
static void
find_of_group(RouterRound *round, RouterGroup *group,
			  const RouterAudience *audiences, const RouterImage *images)
{
	RouterVerdict others[2] = {ROUTER_NO, ROUTER_NO};
	const char *values[2] = {"", ""};
	int first = round->ncandidates;

	for (int i = 0; i < 2; i++)
	{
		if (!images[i].there)
			continue;
		if (group->column != 0 &&
			!plinth_router_field(&images[i], group->column, &values[i]))
			others[i] = ROUTER_UNKNOWN;
		else if (values[i] != NULL)
			others[i] = find_of_image(round, group, &audiences[i], &images[i],
									  i, values[i]);
	}

	/* who was found by one image only */
	for (int i = first; i < round->ncandidates; i++)
	{
		RouterCandidate *candidate = &round->candidates[i];

		for (int j = 0; j < 2; j++)
		{
			if (candidate->sees[j] != UNSET)
				continue;
			candidate->sees[j] = others[j];
			if (group->column != 0 && values[j] != NULL && images[j].there &&
				!has_value(candidate->local, values[j]))
				candidate->sees[j] = ROUTER_NO;
		}
		if (candidate->local->filter != NULL &&
			candidate->local->filter->nconditions > 0)
			filter(candidate, images);
	}
}

/*
 * Candidates that one image gives.  Returns what it is to those whom it does
 * not give.
 */
static RouterVerdict
find_of_image(RouterRound *round, RouterGroup *group,
			  const RouterAudience *audience, const RouterImage *image,
			  int which, const char *value)
{
	const RouterRoute *route = &group->path->route;
	const RouterUsers *users = &audience->perhaps;
	RouterVerdict otherwise = ROUTER_ASK;
	RouterVerdict others = ROUTER_NO;
	dlist_iter iter;

	if (!plinth_router_knows(image, route->asked))
		otherwise = image->lost ? ROUTER_LOST : ROUTER_UNKNOWN;

	if (users->all)
	{
		/* by the filter's value alone, where all have to be looked at */
		if (audience->sure.all || (otherwise == ROUTER_ASK && route->by_value))
		{
			find_in_bucket(round, group, "", value, which, audience, otherwise);
			return ROUTER_NO;
		}
		if (otherwise == ROUTER_LOST && route->tuples)
		{
			/* what they miss, and would not but for a change of the table */
			dlist_foreach (iter, &group->members)
			{
				RouterLocal *local =
					dlist_container(RouterLocal, group_node, iter.cur);

				if (has_value(local, value))
					touch(round, local, which,
						  plinth_router_has_user(&audience->sure, local->user)
							  ? ROUTER_YES
							  : ROUTER_LOST);
			}
			return ROUTER_NO;
		}
		others = ROUTER_UNKNOWN;
		users = &audience->sure;
	}
	for (int i = 0; i < users->count; i++)
		find_in_bucket(round, group, users->users[i], value, which, audience,
					   otherwise);
	return others;
}

/*
 * Candidates under one key.  Two keys may share a bucket.
 */
static void
find_in_bucket(RouterRound *round, RouterGroup *group, const char *user,
			   const char *value, int which, const RouterAudience *audience,
			   RouterVerdict otherwise)
{
	dlist_head *bucket = plinth_router_bucket(group, user, value);
	dlist_iter iter;

	if (bucket == NULL)
		return;
	dlist_foreach (iter, bucket)
	{
		RouterPlace *place = dlist_container(RouterPlace, node, iter.cur);

		if (strcmp(place->user, user) != 0 || strcmp(place->value, value) != 0)
			continue;
		touch(round, place->local, which,
			  plinth_router_has_user(&audience->sure, place->local->user)
				  ? ROUTER_YES
				  : otherwise);
	}
}

/*
 * Is it a value that the subscription's filter looks for?
 */
static bool
has_value(const RouterLocal *local, const char *value)
{
	if (local->group->column == 0)
		return true;
	for (int i = 0; i < local->filter->nvalues; i++)
		if (strcmp(local->filter->values[i], value) == 0)
			return true;
	return false;
}

/*
 * Note what an image is to a subscription.
 */
static void
touch(RouterRound *round, RouterLocal *local, int which, RouterVerdict verdict)
{
	RouterCandidate *candidate;

	if (local->stamp != next_stamp &&
		!(plinth_router_concerns(&local->sub, round->txn, round->now) &&
		  (local->replaying || !round->replay)))
		return;
	if (local->stamp != next_stamp)
	{
		round->candidates = plinth_router_grow(
			round->context, round->candidates, round->ncandidates,
			&round->candidates_size, sizeof(RouterCandidate));
		local->stamp = next_stamp;
		local->candidate = round->ncandidates++;
		candidate = &round->candidates[local->candidate];
		candidate->local = local;
		candidate->sees[0] = candidate->sees[1] = UNSET;
		candidate->inquiry = NULL;
	}
	candidate = &round->candidates[local->candidate];
	candidate->sees[which] = verdict;
}

/*
 * Take the conditions of a filter into account that are run on the row.  A
 * filter that fails ends its subscription.
 */
static void
filter(RouterCandidate *candidate, const RouterImage *images)
{
	RouterLocal *local = candidate->local;

	for (int i = 0; i < 2; i++)
	{
		GuardedFilter run = {.filter = local->filter, .image = &images[i]};
		char *problem;

		if (candidate->sees[i] == ROUTER_NO || local->sub.ended)
		{
			candidate->sees[i] = ROUTER_NO;
			continue;
		}
		if (images[i].slot == NULL)
		{
			candidate->sees[i] = images[i].lost ? ROUTER_LOST : ROUTER_UNKNOWN;
			continue;
		}
		if (!plinth_router_filter_is_guarded(local->filter))
			run_filter(&run);
		else if (!plinth_router_guarded(run_filter, &run, &problem))
		{
			plinth_router_end(&local->sub,
							  psprintf("the filter failed: %s", problem));
			local->sub.ended = true;
			run.verdict = ROUTER_NO;
		}
		if (run.verdict == ROUTER_NO ||
			(run.verdict == ROUTER_UNKNOWN && candidate->sees[i] != ROUTER_LOST))
			candidate->sees[i] = run.verdict;
	}
}

static void
run_filter(void *arg)
{
	GuardedFilter *run = arg;

	run->verdict = plinth_router_filter_row(run->filter, run->image->slot,
											run->image->unknown);
}

/*
 * Note what has to be asked about a candidate.
 */
static void
add_questions(RouterRound *round, RouterCandidate *candidate,
			  const WireChange *change, const RouterImage *images)
{
	if (candidate->sees[ROUTER_OLD] != ROUTER_ASK &&
		candidate->sees[ROUTER_NEW] != ROUTER_ASK)
		return;

	/* nothing will be sent anyway */
	if (change->action == WIRE_UPDATE &&
		candidate->sees[ROUTER_NEW] == ROUTER_UNKNOWN)
	{
		candidate->sees[ROUTER_OLD] = ROUTER_NO;
		return;
	}

	candidate->inquiry = find_inquiry(round, candidate->local);
	for (int i = 0; i < 2; i++)
		if (candidate->sees[i] == ROUTER_ASK)
			candidate->questions[i] = add_question(round, candidate->inquiry,
												   change, images[i].tuple, i);
}

/*
 * The inquiry of a subscription's identity about its table.
 */
static RouterInquiry *
find_inquiry(RouterRound *round, RouterLocal *local)
{
	RouterIdentity *identity = local->identity;
	RouterInquiry *inquiry = NULL;

	if (identity->inquiry_round == round->number)
		for (inquiry = identity->inquiry; inquiry != NULL;
			 inquiry = inquiry->earlier)
			if (inquiry->relid == local->sub.relid)
				return inquiry;

	inquiry = MemoryContextAllocZero(round->context, sizeof(RouterInquiry));
	inquiry->identity = identity;
	inquiry->relid = local->sub.relid;
	inquiry->earlier =
		identity->inquiry_round == round->number ? identity->inquiry : NULL;
	identity->inquiry = inquiry;
	identity->inquiry_round = round->number;
	round->inquiries =
		plinth_router_grow(round->context, round->inquiries, round->ninquiries,
						   &round->inquiries_size, sizeof(RouterInquiry *));
	round->inquiries[round->ninquiries++] = inquiry;
	return inquiry;
}

/*
 * Ask about an image, once.
 */
static int
add_question(RouterRound *round, RouterInquiry *inquiry,
			 const WireChange *change, HeapTuple tuple, int which)
{
	if (inquiry->change != change)
	{
		inquiry->change = change;
		inquiry->numbers[0] = inquiry->numbers[1] = -1;
	}
	if (inquiry->numbers[which] < 0)
	{
		inquiry->questions =
			plinth_router_grow(round->context, inquiry->questions, inquiry->count,
							   &inquiry->size, sizeof(RouterQuestion));
		inquiry->questions[inquiry->count].tuple = tuple;
		inquiry->numbers[which] = inquiry->count++;
		round->nquestions++;
	}
	return inquiry->numbers[which];
}
