/*-------------------------------------------------------------------------
 *
 * delivery_funcs.c
 *		SQL face of delivery: poll, and the views over subscriptions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "claims/claims.h"

#define DELIVERY_MAX_POLL 1000 /* rows of one poll */

static void list_subscriptions(FunctionCallInfo fcinfo, bool all);
static void put_row(ReturnSetInfo *result, int64 seq, const DeliveryRow *row,
					const char *event, const char *payload);
static void put_subscription(ReturnSetInfo *result,
							 const RouterSubscription *sub);
static bool is_own(const RouterSubscription *sub, const ClaimsIdentity *claims);
static const char *event_name(uint8 events);

/*
 * plinth.realtime_poll(subscription_id int8, session_key text,
 *		after_seq int8, limit_count int4)
 *		-> setof (seq int8, lsn pg_lsn, commit_timestamp timestamptz,
 *				  event text, payload jsonb)
 *
 * The messages of a subscription that come after after_seq.
 *
 *	after_seq		0, or the seq of the last row that was read
 *	limit_count		1 to 1000
 *
 * A row with the event "gap" says that what is between after_seq and its own
 * seq is gone; one with "end", that no more will come, and why.
 *
 * Errors: 22023 an argument is out of range; P0002 no such subscription;
 * 42501 the key is another's.
 */
PG_FUNCTION_INFO_V1(plinth_sql_delivery_poll);
Datum
plinth_sql_delivery_poll(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	RouterSubscription sub;
	StringInfoData payload;
	DeliveryRow *rows;
	int64 after_seq;
	int64 lost_upto;
	int64 last;
	int32 limit;
	int count;

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("arguments of poll must not be null")));
	after_seq = PG_GETARG_INT64(2);
	limit = PG_GETARG_INT32(3);
	if (after_seq < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"after_seq\" must not be negative")));
	if (limit < 1 || limit > DELIVERY_MAX_POLL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"limit_count\" must be between 1 and %d",
							   DELIVERY_MAX_POLL)));

	plinth_router_open((uint64) PG_GETARG_INT64(0),
					   text_to_cstring(PG_GETARG_TEXT_PP(1)), &sub);
	InitMaterializedSRF(fcinfo, 0);
	initStringInfo(&payload);
	rows = palloc(limit * sizeof(DeliveryRow));
	count = plinth_delivery_read(&sub, after_seq, limit, rows, &lost_upto, &last);

	if (lost_upto > 0)
	{
		appendStringInfo(&payload,
						 "{\"seq\":" INT64_FORMAT ",\"eventType\":\"gap\"}",
						 lost_upto);
		put_row(result, lost_upto, NULL, "gap", payload.data);
		limit--;
	}
	for (int i = 0; i < count; i++)
	{
		resetStringInfo(&payload);
		appendStringInfo(&payload, "{\"seq\":" INT64_FORMAT ",", rows[i].seq);
		appendBinaryStringInfo(&payload, rows[i].body + 1, rows[i].length - 1);
		put_row(result, rows[i].seq, &rows[i],
				plinth_wire_action_name(rows[i].action), payload.data);
	}
	if (sub.ended && count < limit && after_seq <= last)
	{
		resetStringInfo(&payload);
		appendStringInfo(&payload,
						 "{\"seq\":" INT64_FORMAT
						 ",\"eventType\":\"end\",\"reason\":",
						 last + 1);
		escape_json(&payload, sub.reason);
		appendStringInfoChar(&payload, '}');
		put_row(result, last + 1, NULL, "end", payload.data);
	}

	return (Datum) 0;
}

/*
 * plinth.realtime_subscriptions() -> setof record
 *
 * The caller's subscriptions; all of the database to services.
 */
PG_FUNCTION_INFO_V1(plinth_sql_delivery_subscriptions);
Datum
plinth_sql_delivery_subscriptions(PG_FUNCTION_ARGS)
{
	list_subscriptions(fcinfo, plinth_claims_is_service());
	return (Datum) 0;
}

/*
 * plinth.realtime_all_subscriptions() -> setof record
 *
 * All subscriptions of the database.
 *
 * Errors: 42501 the caller is neither service, monitor nor administrator.
 */
PG_FUNCTION_INFO_V1(plinth_sql_delivery_all_subscriptions);
Datum
plinth_sql_delivery_all_subscriptions(PG_FUNCTION_ARGS)
{
	plinth_claims_require_monitor("subscriptions");
	list_subscriptions(fcinfo, true);
	return (Datum) 0;
}

/*
 * Return all subscriptions, or the caller's own.
 */
static void
list_subscriptions(FunctionCallInfo fcinfo, bool all)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const ClaimsIdentity *claims = plinth_claims_current();
	RouterSubscription *list;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	list = plinth_router_list(&count);
	for (int i = 0; i < count; i++)
		if (all || is_own(&list[i], claims))
			put_subscription(result, &list[i]);
}

/*
 * Add a row to poll's result; row is NULL for what is no change.
 */
static void
put_row(ReturnSetInfo *result, int64 seq, const DeliveryRow *row,
		const char *event, const char *payload)
{
	Datum values[5] = {0};
	bool nulls[5] = {0};

	values[0] = Int64GetDatum(seq);
	if (row != NULL)
	{
		values[1] = LSNGetDatum(row->lsn);
		values[2] = TimestampTzGetDatum(row->commit_time);
	}
	else
		nulls[1] = nulls[2] = true;
	values[3] = CStringGetTextDatum(event);
	values[4] = DirectFunctionCall1(jsonb_in, CStringGetDatum(payload));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	pfree(DatumGetPointer(values[4]));
}

/*
 * Add a subscription's row.
 */
static void
put_subscription(ReturnSetInfo *result, const RouterSubscription *sub)
{
	Datum values[18] = {0};
	bool nulls[18] = {0};
	char *table = get_rel_name(sub->relid);
	char *role = GetUserNameFromId(sub->role, true);
	char *filter = plinth_router_text_read(&sub->filter);
	int64 delivered;
	int64 dropped;
	int64 queue_bytes;

	plinth_delivery_slot_counts(sub, &delivered, &dropped, &queue_bytes);

	values[0] = Int64GetDatum((int64) sub->id);
	values[1] = UUIDPGetDatum(&sub->user_id);
	nulls[1] = !sub->has_user;
	values[2] = CStringGetTextDatum(sub->topic);
	nulls[3] = nulls[4] = table == NULL;
	if (table != NULL)
	{
		values[3] = CStringGetTextDatum(
			get_namespace_name(get_rel_namespace(sub->relid)));
		values[4] = CStringGetTextDatum(table);
	}
	values[5] = CStringGetTextDatum(event_name(sub->events));
	nulls[6] = filter == NULL;
	if (filter != NULL)
		values[6] = CStringGetTextDatum(filter);
	values[7] = CStringGetTextDatum(plinth_router_route_name(sub->route));
	values[8] = TimestampTzGetDatum(sub->created_at);
	values[9] = TimestampTzGetDatum(sub->last_seen);
	values[10] = TimestampTzGetDatum(sub->expires_at);
	values[11] = Int64GetDatum(delivered);
	values[12] = Int64GetDatum(dropped);
	nulls[13] = role == NULL;
	if (role != NULL)
		values[13] = CStringGetTextDatum(role);
	values[14] = BoolGetDatum(!sub->ended);
	nulls[15] = sub->judged == 0; /* nothing was asked of its policies */
	if (sub->judged > 0)
		values[15] = Float8GetDatum((double) sub->judged_us / sub->judged);
	values[16] = Int64GetDatum(queue_bytes);
	nulls[17] = !sub->ended;
	if (sub->ended)
		values[17] = CStringGetTextDatum(sub->reason);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Is it the caller's: the same user, or for nobody the same session?
 */
static bool
is_own(const RouterSubscription *sub, const ClaimsIdentity *claims)
{
	if (claims != NULL && claims->has_user)
		return sub->has_user &&
			   memcmp(&sub->user_id, &claims->user_id, UUID_LEN) == 0;
	return !sub->has_user && !sub->orphan && sub->pid == MyProcPid;
}

/*
 * The word that was given for the events.
 */
static const char *
event_name(uint8 events)
{
	switch (events)
	{
		case ROUTER_EVENT_INSERT:
			return "INSERT";
		case ROUTER_EVENT_UPDATE:
			return "UPDATE";
		case ROUTER_EVENT_DELETE:
			return "DELETE";
		case ROUTER_EVENT_BROADCAST:
			return "broadcast";
		case ROUTER_EVENT_PRESENCE:
			return "presence";
		default:
			return "*";
	}
}
