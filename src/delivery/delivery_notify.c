/*-------------------------------------------------------------------------
 *
 * delivery_notify.c
 *		Messages to LISTEN channels, sent by the stream worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"

#include "access/xact.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

#include "base/worker.h"

/* The server's limit is 8000 bytes with the zero. */
#define DELIVERY_MAX_PAYLOAD 7900

static void send_message(const DeliveryMessage *message, const char *channel,
						 int64 seq, StringInfo payload);
static void send_notice(const RouterSubscription *sub, void *arg);
static void keep_house(void *arg);

/*
 * Ring first, notifications with the caller's commit: who is notified finds
 * the message by polling.
 */
void
plinth_delivery_deliver(const WireTransaction *txn, RouterMatch *matches,
						int nmatches, bool replay)
{
	Size limit = (Size) plinth_delivery_event_kb * 1024;
	StringInfoData body;
	StringInfoData payload;

	initStringInfo(&body);
	initStringInfo(&payload);

	plinth_delivery_tell_notices(&payload);

	for (int i = 0; i < nmatches; i++)
	{
		RouterMatch *match = &matches[i];
		DeliveryMessage message = {.action = match->view.action,
								   .lsn = txn->commit_lsn,
								   .commit_time = txn->commit_time,
								   .replay = replay};

		CHECK_FOR_INTERRUPTS();
		resetStringInfo(&body);
		if (match->change->message != NULL)
			plinth_wire_write_message(&body, match->change->message,
									  txn->commit_lsn, txn->commit_time);
		else
			plinth_wire_write_change(&body, txn, match->change, &match->view,
									 limit);
		plinth_delivery_hand_over(&message, &body, match->readers,
								  match->nreaders, &payload);
	}
}

/*
 * Put one message into the ring and send it to its readers.
 */
void
plinth_delivery_hand_over(DeliveryMessage *message, const StringInfo body,
						  const RouterReader *readers, int nreaders,
						  StringInfo payload)
{
	int64 *seqs =
		palloc_extended((Size) nreaders * sizeof(int64), MCXT_ALLOC_HUGE);
	bool fits;

	message->body = body->data;
	message->length = body->len;
	fits = plinth_delivery_put(message, readers, nreaders, seqs);
	for (int i = 0; i < nreaders; i++)
		if (fits)
			send_message(message, readers[i].channel, seqs[i], payload);
		else
		{
			resetStringInfo(payload);
			appendStringInfo(payload,
							 "{\"seq\":" INT64_FORMAT ",\"eventType\":\"gap\"}",
							 seqs[i]);
			Async_Notify(readers[i].channel, payload->data);
		}
	if (fits)
		plinth_delivery_note(message, nreaders);
	pfree(seqs);
}

/*
 * Tell of gaps and ends.
 */
void
plinth_delivery_tell_notices(StringInfo payload)
{
	plinth_router_notices(send_notice, payload);
}

/*
 * Expire and tell, in a transaction of its own when there is a need.
 */
void
plinth_delivery_tick(void)
{
	if (plinth_router_due())
		plinth_worker_transaction("plinth: ending subscriptions", keep_house,
								  NULL);
}

/*
 * The step of plinth_delivery_tick().
 */
static void
keep_house(void *arg)
{
	StringInfoData payload;

	initStringInfo(&payload);
	plinth_router_expire();
	plinth_delivery_tell_notices(&payload);
}

/*
 * Send a message to one reader: the whole of it, or that it is there.
 */
static void
send_message(const DeliveryMessage *message, const char *channel, int64 seq,
			 StringInfo payload)
{
	resetStringInfo(payload);
	appendStringInfo(payload, "{\"seq\":" INT64_FORMAT ",", seq);
	if (payload->len + message->length - 1 < DELIVERY_MAX_PAYLOAD)
		appendBinaryStringInfo(payload, message->body + 1, message->length - 1);
	else
		appendStringInfo(payload, "\"lsn\":\"%X/%X\",\"truncated\":true}",
						 LSN_FORMAT_ARGS(message->lsn));
	Async_Notify(channel, payload->data);
}

/*
 * Tell a reader of a gap, or of the end.
 */
static void
send_notice(const RouterSubscription *sub, void *arg)
{
	StringInfo payload = arg;

	resetStringInfo(payload);
	if (sub->ended)
	{
		appendStringInfoString(payload, "{\"eventType\":\"end\",\"reason\":");
		escape_json(payload, sub->reason);
		appendStringInfoChar(payload, '}');
	}
	else
		appendStringInfo(payload,
						 "{\"seq\":" INT64_FORMAT ",\"eventType\":\"gap\"}",
						 plinth_delivery_gap_seq(sub));
	Async_Notify(sub->channel, payload->data);
}
