/*-------------------------------------------------------------------------
 *
 * worker_stream.c
 *		The stream worker: decode, route, deliver.
 *
 * One turn reads what has been committed and flushed since the last one, up
 * to a bound, finds its readers, puts the messages into the ring and the
 * notifications into one transaction, and lets the slot move on after that
 * transaction has committed.  A turn that found WAL is followed by a short
 * wait without a latch, so that under load commits pay nothing and the
 * worker's transactions are few; one that found none by a wait that the next
 * commit ends.
 *
 * What cannot be delivered is rolled back on its own, counted, and told to
 * the readers as a gap; the stream goes on behind it (S8.5).  Other errors
 * end the process: the slot goes with it, the next process takes a new one,
 * and every reader is told of a gap.
 *
 * SIGTERM is die(): nothing here has to be finished.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/subtransaction.h"
#include "base/worker.h"
#include "decoder/decoder.h"
#include "delivery/delivery.h"
#include "presence/presence.h"
#include "router/router.h"
#include "worker/worker_stream.h"

/* Wait after a turn that found WAL: time to collect. */
#define STREAM_BUSY_MS 2

/*
 * Wait after one that found none; a commit ends it.  Bounds how long a
 * transaction waits that commits without flushing, and how much WAL of other
 * databases is held.
 */
#define STREAM_IDLE_MS 200

/* Bounds of a turn. */
#define STREAM_TRANSACTIONS 1000
#define STREAM_MEMORY ((Size) 2 * 1024 * 1024)

/* Tries to deliver a transaction before its readers get a gap. */
#define STREAM_TRIES 2

#define STREAM_TICK_MS 1000

/* What a turn has read. */
typedef struct StreamBatch
{
	DecoderReader *reader;
	int count;
	const WireTransaction *transactions[STREAM_TRANSACTIONS];
} StreamBatch;

static void stream_loop(void);
static bool read_batch(DecoderReader *reader, StreamBatch *batch);
static void deliver_batch(void *arg);
static void replay(DecoderReader *reader);
static XLogRecPtr kept_from(Oid relid, int wanted, void *arg);
static bool deliver_round(RouterTurn *turn);
static void match_and_deliver(void *arg);
static void deliver_matches(RouterMatch *matches, int nmatches, bool replay);
static void look_around(void *arg);
static void tell_topics(void *arg);
static int wants(Oid relid, void *arg);
static bool reads(const char *prefix, const char *bytes, Size length,
				  TransactionId xid, WireMessage *message, void *arg);

void
plinth_worker_stream_main(Datum main_arg)
{
	plinth_worker_main(WORKER_STREAM, main_arg, stream_loop);
}

static void
stream_loop(void)
{
	StreamBatch *batch =
		MemoryContextAllocZero(TopMemoryContext, sizeof(StreamBatch));
	const char *missing = plinth_decoder_missing();
	DecoderReader *reader;
	TimestampTz tick_at = 0;

	if (missing != NULL)
		plinth_worker_give_up(missing);

	plinth_worker_set_state(WORKER_STARTING);
	plinth_worker_stream_stat_attach(MyDatabaseId);
	reader = batch->reader = plinth_decoder_open(wants, reads, NULL);
	plinth_decoder_keep(reader, plinth_delivery_replay_memory());
	plinth_delivery_attach_worker();
	plinth_presence_attach_worker();
	plinth_router_attach_worker(MyDatabaseId);

	for (;;)
	{
		XLogRecPtr before = plinth_decoder_read_up_to(reader);
		DecoderPosition position;
		bool at_end;

		at_end = read_batch(reader, batch);
		plinth_worker_stream_stat_step();
		plinth_worker_stream_stat_read(plinth_decoder_read_up_to(reader));
		plinth_decoder_pause(reader);
		if (batch->count > 0 || plinth_router_replay_due())
		{
			plinth_worker_set_state(WORKER_RUNNING);
			plinth_worker_transaction("delivering changes", deliver_batch, batch);
		}
		plinth_decoder_confirm(reader);
		plinth_decoder_position(reader, &position);
		plinth_worker_stream_stat_report(&position, at_end);

		if (plinth_delivery_has_news())
		{
			XLogRecPtr told_upto = plinth_decoder_read_up_to(reader);

			if (!plinth_worker_attempt("telling topics", tell_topics, &told_upto))
				plinth_router_gap();
		}

		if (GetCurrentTimestamp() >= tick_at)
		{
			plinth_worker_transaction("looking around", look_around, NULL);
			plinth_presence_expire();
			plinth_delivery_tick();
			tick_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  STREAM_TICK_MS);
		}

		if (!at_end)
			CHECK_FOR_INTERRUPTS();
		else if (plinth_decoder_read_up_to(reader) != before)
			(void) plinth_worker_wait(STREAM_BUSY_MS,
									  plinth_wait_event("PlinthStreamCollect"));
		else
		{
			plinth_worker_set_state(WORKER_IDLE);
			plinth_worker_announce_wait();
			if (!plinth_decoder_has_more(reader) && !plinth_delivery_has_news())
				(void) plinth_worker_wait(STREAM_IDLE_MS,
										  plinth_wait_event("PlinthStreamMain"));
		}
	}
}

/*
 * Read until the WAL ends or the turn is full.  Returns whether it ended.
 */
static bool
read_batch(DecoderReader *reader, StreamBatch *batch)
{
	batch->count = 0;
	while (batch->count < STREAM_TRANSACTIONS &&
		   plinth_decoder_memory(reader) < STREAM_MEMORY)
	{
		const WireTransaction *txn = plinth_decoder_next(reader);

		if (txn == NULL)
			return plinth_decoder_at_end(reader);
		batch->transactions[batch->count++] = txn;
	}
	return false;
}

/*
 * Deliver a batch in the current transaction, after what some want of the
 * past.  What fails is tried again alone, so that one transaction's failure is
 * no other's.
 */
static void
deliver_batch(void *arg)
{
	StreamBatch *batch = arg;
	RouterTurn turn = {.transactions = batch->transactions,
					   .count = batch->count};
	int tries = 0;

	if (plinth_router_replay_due())
		replay(batch->reader);
	while (turn.txn < batch->count)
	{
		plinth_worker_stream_stat_step();
		if (deliver_round(&turn))
		{
			tries = 0;
			turn.count = batch->count;
		}
		else if (++tries < STREAM_TRIES)
			turn.count = turn.txn + 1;
		else
		{
			plinth_worker_stream_stat_failed(1);
			plinth_router_gap();
			plinth_decoder_lose(batch->reader);
			turn.txn++;
			turn.change = tries = 0;
			turn.count = batch->count;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Deliver what earlier turns have read to those who want it since, and wait
 * for it: they are in this turn then.
 */
static void
replay(DecoderReader *reader)
{
	RouterTurn turn = {.replay = kept_from, .replay_arg = reader};
	int tries = 0;

	turn.transactions = plinth_decoder_kept(reader, &turn.count);
	do
	{
		plinth_worker_stream_stat_step();
		if (deliver_round(&turn))
			tries = 0;
		else if (++tries >= STREAM_TRIES)
		{
			plinth_worker_stream_stat_failed(1);
			plinth_router_break_replay();
			return;
		}
		CHECK_FOR_INTERRUPTS();
	} while (turn.txn < turn.count);
}

static XLogRecPtr
kept_from(Oid relid, int wanted, void *arg)
{
	return plinth_decoder_kept_from(arg, relid, wanted);
}

/*
 * Find the readers of the next changes and hand them over, in a
 * subtransaction: an error undoes this and nothing else.  Returns whether it
 * went well; if not, the turn stands where it stood.
 */
static bool
deliver_round(RouterTurn *turn)
{
	MemoryContext memory = AllocSetContextCreate(
		CurrentMemoryContext, "plinth delivery", ALLOCSET_DEFAULT_SIZES);
	MemoryContext context = MemoryContextSwitchTo(memory);
	RouterTurn next = *turn;
	ErrorData *error = plinth_try(match_and_deliver, &next);
	bool delivered = error == NULL;

	if (delivered)
		*turn = next;
	else
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not deliver the changes of transaction %u: %s",
						turn->txn < turn->count ? turn->transactions[turn->txn]->xid
												: InvalidTransactionId,
						error->message)));
	MemoryContextSwitchTo(context);
	MemoryContextDelete(memory);

	return delivered;
}

static void
match_and_deliver(void *arg)
{
	RouterTurn *turn = arg;
	int nmatches;
	RouterMatch *matches = plinth_router_match(turn, &nmatches);

	deliver_matches(matches, nmatches, turn->replay != NULL);
}

/*
 * Hand matches over, those of a transaction together.
 */
static void
deliver_matches(RouterMatch *matches, int nmatches, bool replay)
{
	int start = 0;

	while (start < nmatches)
	{
		int end = start + 1;

		while (end < nmatches && matches[end].txn == matches[start].txn)
			end++;
		plinth_delivery_deliver(matches[start].txn, matches + start,
								end - start, replay);
		start = end;
	}
}

/*
 * Once a second: is it still for us to work here?
 */
static void
look_around(void *arg)
{
	plinth_worker_check();
}

/*
 * Messages that were sent at once, and who comes and goes.
 */
static void
tell_topics(void *arg)
{
	const XLogRecPtr *position = arg;

	plinth_delivery_tell_news(*position);
}

static int
wants(Oid relid, void *arg)
{
	plinth_worker_stream_stat_step();
	return plinth_router_wants(relid);
}

static bool
reads(const char *prefix, const char *bytes, Size length, TransactionId xid,
	  WireMessage *message, void *arg)
{
	return plinth_delivery_read_message(prefix, bytes, length, xid, message);
}
