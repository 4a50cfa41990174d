/*-------------------------------------------------------------------------
 *
 * router_match.c
 *		Which subscribers are told of a change, and as what.
 *
 * A row's images tell who may see it, as far as that can be told by looking
 * at them: a key of the index for each user and filter value, and so the
 * candidates.  About those that may see it and may not, their own SELECT is
 * asked; for that the changes are taken in rounds, so that an identity is
 * asked about many rows at once.  Whether a candidate sees the old image, the
 * new, or both says what the change is to it.  What an image does not tell is
 * unknown: nothing is sent on the strength of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_match.h"

#include "access/transam.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A round ends when so many rows are to be asked about, or candidates found. */
#define ROUND_QUESTIONS 20000
#define ROUND_CANDIDATES 200000

/* And when the questions are likely to take so long, in microseconds. */
#define ROUND_US 250000.0

static uint64 rounds = 0;
static double question_us = 10; /* on average, lately */

static void await_visible(const WireTransaction *txn);
static bool round_is_full(const RouterRound *round);
static void ask(RouterRound *round);
static void add_costs(RouterRound *round);

/*
 * Find the readers of the next changes of a turn.
 */
RouterMatch *
plinth_router_match(RouterTurn *turn, int *nmatches)
{
	RouterRound round = {.replay = turn->replay != NULL};
	XLogRecPtr from = InvalidXLogRecPtr;

	*nmatches = 0;
	if (!plinth_router_attached())
	{
		turn->txn = turn->count;
		return NULL;
	}
	if (turn->txn == 0 && turn->change == 0 && turn->replay == NULL)
		for (int i = 0; i < turn->count; i++)
			await_visible(turn->transactions[i]);

	/* What is committed by now counts: policies, rights, subscriptions. */
	AcceptInvalidationMessages();
	plinth_router_synchronize();
	if (turn->replay != NULL)
		from = plinth_router_begin_replay(turn);
	else
		plinth_router_settle_all();
	PushActiveSnapshot(GetTransactionSnapshot());

	round.number = ++rounds;
	round.now = GetCurrentTimestamp();
	round.context = CurrentMemoryContext;
	round.econtext = CreateStandaloneExprContext();
	while (turn->txn < turn->count && !round_is_full(&round))
	{
		const WireTransaction *txn = turn->transactions[turn->txn];

		CHECK_FOR_INTERRUPTS();
		if (txn->commit_lsn < from)
		{
			turn->txn++;
			continue;
		}
		if (txn->overflowed)
		{
			/* what comes before it is to be told before it */
			if (round.ncases > 0)
				break;
			plinth_router_gap();
			plinth_router_synchronize();
		}
		else if (turn->change < txn->nchanges)
			plinth_router_find(&round, txn, &txn->changes[turn->change]);
		if (txn->overflowed || ++turn->change >= txn->nchanges)
		{
			turn->txn++;
			turn->change = 0;
		}
	}
	ask(&round);
	PopActiveSnapshot();

	plinth_router_tell(&round);
	add_costs(&round);
	plinth_router_end_round(&round);
	if (turn->replay != NULL && turn->txn >= turn->count)
		plinth_router_end_replay();

	*nmatches = round.nmatches;
	return round.matches;
}

/*
 * Wait until a transaction whose commit record has been read is over for
 * everybody.  Between the two it flushes, and may wait for a standby.
 */
static void
await_visible(const WireTransaction *txn)
{
	if (TransactionIdIsValid(txn->xid) && TransactionIdIsInProgress(txn->xid))
		XactLockTableWait(txn->xid, NULL, NULL, XLTW_None);
}

/*
 * Bounded by time, as far as what questions took lately tells: nobody's
 * changes are to wait for long for another one's policies.
 */
static bool
round_is_full(const RouterRound *round)
{
	return round->nquestions >= ROUND_QUESTIONS ||
		   round->nquestions * question_us >= ROUND_US ||
		   round->ncandidates >= ROUND_CANDIDATES;
}

/*
 * Have the round's questions answered.
 */
static void
ask(RouterRound *round)
{
	double us = 0;

	if (round->ninquiries == 0)
		return;
	plinth_router_ask(round->inquiries, round->ninquiries);
	for (int i = 0; i < round->ninquiries; i++)
		us += round->inquiries[i]->us;
	question_us += (us / round->nquestions - question_us) / 4;
}

/*
 * What an identity has cost is shown with each of its subscriptions.
 */
static void
add_costs(RouterRound *round)
{
	for (int i = 0; i < round->ncandidates; i++)
	{
		RouterCandidate *candidate = &round->candidates[i];
		RouterInquiry *inquiry = candidate->inquiry;

		if (inquiry == NULL || candidate->local->cost_stamp == round->number)
			continue;
		candidate->local->cost_stamp = round->number;
		candidate->local->judged += inquiry->count;
		candidate->local->judged_us += inquiry->us;
		plinth_router_note_costs();
	}
}
