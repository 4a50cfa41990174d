/*-------------------------------------------------------------------------
 *
 * router_tell.c
 *		What a change is to each of its candidates.
 *
 * Whoever sees a row before and after is told of an update, whoever sees it
 * only after of an insert, and whoever saw it only before of a delete, with
 * its key.  Where the WAL does not tell whether a row was seen before, it is
 * an update without anything of the old row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_match.h"

#include "access/transam.h"

/* The forms in which a change may be told to those of a path. */
typedef enum TellForm
{
	TELL_INSERT,
	TELL_UPDATE,
	TELL_UPDATE_KEY,
	TELL_UPDATE_NEW,
	TELL_DELETE,
	TELL_DELETE_KEY,
	TELL_TRUNCATE,
	TELL_NOTHING
} TellForm;

static const struct
{
	WireAction action;
	WireOldPart old_part;
	uint8 event; /* that a subscriber has to have asked for */
} forms[] = {
	[TELL_INSERT] = {WIRE_INSERT, WIRE_OLD_NONE, ROUTER_EVENT_INSERT},
	[TELL_UPDATE] = {WIRE_UPDATE, WIRE_OLD_WHOLE, ROUTER_EVENT_UPDATE},
	[TELL_UPDATE_KEY] = {WIRE_UPDATE, WIRE_OLD_KEY, ROUTER_EVENT_UPDATE},
	[TELL_UPDATE_NEW] = {WIRE_UPDATE, WIRE_OLD_NONE, ROUTER_EVENT_UPDATE},
	[TELL_DELETE] = {WIRE_DELETE, WIRE_OLD_WHOLE, ROUTER_EVENT_DELETE},
	[TELL_DELETE_KEY] = {WIRE_DELETE, WIRE_OLD_KEY, ROUTER_EVENT_DELETE},
	[TELL_TRUNCATE] = {WIRE_TRUNCATE, WIRE_OLD_NONE, ROUTER_EVENT_DELETE},
};

static void tell_case(RouterRound *round, const RouterCase *told);
static void tell_message(RouterRound *round, const RouterCase *told);
static void add_match(RouterRound *round, const RouterCase *told,
					  const RouterMatch *match);
static bool settle(RouterRound *round, RouterCandidate *candidate);
static void end(RouterLocal *local, const RouterInquiry *inquiry);
static void lose(RouterRound *round, RouterLocal *local);
static TellForm form_of(const RouterCase *told, const RouterCandidate *candidate);
static bool shows_key(const WireRelation *relation, const Bitmapset *columns);
static bool is_published(const RouterRoute *route, WireAction action);
static void add_reader(RouterRound *round, const RouterCase *told,
					   RouterMatch *match, RouterLocal *local, uint8 event);

/*
 * Make messages of a round's changes, in their order.
 */
void
plinth_router_tell(RouterRound *round)
{
	for (int i = 0; i < round->ncases; i++)
		if (round->cases[i].path == NULL)
			tell_message(round, &round->cases[i]);
		else
			tell_case(round, &round->cases[i]);
}

static void
tell_case(RouterRound *round, const RouterCase *told)
{
	const RouterRoute *route = &told->path->route;
	RouterMatch matches[lengthof(forms)] = {0};

	if (!is_published(route, told->change->action))
		return;
	for (int i = 0; i < told->count; i++)
	{
		RouterCandidate *candidate = &round->candidates[told->first + i];
		TellForm form;

		if (!settle(round, candidate))
			continue;
		form = form_of(told, candidate);
		if (form != TELL_NOTHING)
			add_reader(round, told, &matches[form], candidate->local,
					   forms[form].event);
	}

	for (size_t form = 0; form < lengthof(forms); form++)
	{
		RouterMatch *match = &matches[form];

		if (match->nreaders == 0)
			continue;
		match->view.action = forms[form].action;
		match->view.old_part = forms[form].old_part;
		/* the route's own may go with the next policy */
		match->view.columns = bms_copy(route->readable);
		add_match(round, told, match);
	}
}

/*
 * Whoever follows a topic was asked when it began whether it may.
 */
static void
tell_message(RouterRound *round, const RouterCase *told)
{
	RouterMatch match = {.view.action = WIRE_MESSAGE};

	match.readers = plinth_router_readers_of_topic(told->change->message->topic,
												   ROUTER_EVENT_BROADCAST,
												   told->txn, &match.nreaders);
	if (match.nreaders > 0)
		add_match(round, told, &match);
}

static void
add_match(RouterRound *round, const RouterCase *told, const RouterMatch *match)
{
	RouterMatch *added;

	round->matches =
		plinth_router_grow(round->context, round->matches, round->nmatches,
						   &round->matches_size, sizeof(RouterMatch));
	added = &round->matches[round->nmatches++];
	*added = *match;
	added->txn = told->txn;
	added->change = told->change;
}

/*
 * Put the answers in the place of the questions.  False: there is nothing to
 * be sent to this one.
 */
static bool
settle(RouterRound *round, RouterCandidate *candidate)
{
	RouterLocal *local = candidate->local;

	if (local->sub.ended)
		return false;
	for (int i = 0; i < 2; i++)
	{
		const RouterInquiry *inquiry = candidate->inquiry;

		if (candidate->sees[i] != ROUTER_ASK)
			continue;
		switch (inquiry->answer)
		{
			case ROUTER_ANSWERED:
				candidate->sees[i] =
					inquiry->questions[candidate->questions[i]].visible
						? ROUTER_YES
						: ROUTER_NO;
				break;
			case ROUTER_FAILED:
				end(local, inquiry);
				return false;
			case ROUTER_UNANSWERED:
			case ROUTER_BLOCKED:
				candidate->sees[i] = ROUTER_LOST;
				break;
		}
	}
	if (candidate->sees[ROUTER_OLD] == ROUTER_LOST ||
		candidate->sees[ROUTER_NEW] == ROUTER_LOST)
	{
		lose(round, local);
		return false;
	}
	return true;
}

/*
 * The policies have failed for a subscription, and for nobody else.
 */
static void
end(RouterLocal *local, const RouterInquiry *inquiry)
{
	plinth_router_end(&local->sub,
					  psprintf("a policy failed: %s", inquiry->problem));
	local->sub.ended = true;
}

/*
 * A subscription misses a change, and is told so; once for several.
 */
static void
lose(RouterRound *round, RouterLocal *local)
{
	if (local->gap_round == round->number)
		return;
	local->gap_round = round->number;
	local->sub.gaps = plinth_router_mark_gap_of(&local->sub);
}

/*
 * As what a candidate is told of a change.
 */
static TellForm
form_of(const RouterCase *told, const RouterCandidate *candidate)
{
	const WireChange *change = told->change;
	bool whole = change->relation->identity_full;
	RouterVerdict before = candidate->sees[ROUTER_OLD];
	RouterVerdict after = candidate->sees[ROUTER_NEW];

	if (change->action == WIRE_TRUNCATE)
		return TELL_TRUNCATE;
	if (after == ROUTER_YES)
	{
		if (change->action == WIRE_INSERT || before == ROUTER_NO)
			return TELL_INSERT;
		if (before == ROUTER_YES)
			return whole ? TELL_UPDATE : TELL_UPDATE_KEY;

		/*
		 * Where the WAL does not tell whether they saw the old row, they get
		 * no more of it than they know from the new one: the same key.
		 */
		return change->old_row == NULL ? TELL_UPDATE_KEY : TELL_UPDATE_NEW;
	}
	if (before != ROUTER_YES || after == ROUTER_UNKNOWN)
		return TELL_NOTHING;
	if (change->action == WIRE_DELETE && whole)
		return TELL_DELETE;

	/* A removal that cannot say of which row tells nobody anything. */
	return shows_key(change->relation, told->path->route.readable)
			   ? TELL_DELETE_KEY
			   : TELL_NOTHING;
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
 * An UPDATE is published as one, whatever it is to a reader.
 */
static bool
is_published(const RouterRoute *route, WireAction action)
{
	switch (action)
	{
		case WIRE_INSERT:
			return route->events & ROUTER_EVENT_INSERT;
		case WIRE_UPDATE:
			return route->events & ROUTER_EVENT_UPDATE;
		case WIRE_DELETE:
			return route->events & ROUTER_EVENT_DELETE;
		case WIRE_TRUNCATE:
			return route->truncate;
		case WIRE_MESSAGE:
		case WIRE_PRESENCE:
			break;
	}
	return false; /* keep the compiler quiet */
}

/*
 * Add a subscription to a match, if it is to be told.
 */
static void
add_reader(RouterRound *round, const RouterCase *told, RouterMatch *match,
		   RouterLocal *local, uint8 event)
{
	if ((local->sub.events & event) == 0)
		return;
	local->gap_round = 0;
	match->readers = plinth_router_add_reader(
		match->readers, &match->nreaders, &local->sub, told->txn, round->now);
}

/*
 * Is a subscription to be told of a transaction?
 */
bool
plinth_router_concerns(const RouterSubscription *sub,
					   const WireTransaction *txn, TimestampTz now)
{
	if (sub->expires_at <= now)
		return false;
	if (txn != NULL && !XLogRecPtrIsInvalid(sub->since))
		return txn->commit_lsn >= sub->since;

	/* Committed, and visible to all, before the subscription began. */
	return txn == NULL || txn->commit_lsn >= sub->start_lsn ||
		   !TransactionIdPrecedes(txn->xid, sub->start_xmin);
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

	if (!plinth_router_concerns(sub, txn, now))
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
