/*-------------------------------------------------------------------------
 *
 * router_funcs.c
 *		SQL face of the router: subscribe and unsubscribe.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_filter.h"
#include "router/router_internal.h"

#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "claims/claims.h"

/* How long a subscription without a token's end lives. */
#define ROUTER_DEFAULT_LIFE_MS INT64CONST(24 * 60 * 60 * 1000)

/* How long subscribe waits for a stream worker that is on its way. */
#define ROUTER_AWAIT_WORKER_MS 5000

static void require_stream(void);
static char *text_argument(FunctionCallInfo fcinfo, int number, const char *name);
static uint8 read_event(const char *event);
static uint8 read_topic_event(const char *event);
static char *follow_table(FunctionCallInfo fcinfo, RouterSubscription *sub);
static void follow_topic(FunctionCallInfo fcinfo, RouterSubscription *sub);
static Oid find_table(const char *schema, const char *table);
static char *read_filter(const char *text, Oid relid, const RouterRoute *route);
static void try_policies(Oid relid);
static const char *set_identity(RouterSubscription *sub);
static void check_claims_size(const ClaimsIdentity *claims);
static void enter(RouterSubscription *sub, const char *claims,
				  const char *filter);
pg_noreturn static void raise_texts_full(void);
static void require_topic_as(const ClaimsIdentity *claims, const char *topic);
static void set_since(RouterSubscription *sub, XLogRecPtr since);
static void raise_problem(const RouterProblem *problem);

/*
 * plinth.realtime_subscribe(topic text, schema_name text, table_name text,
 *		event text, filter text, since pg_lsn)
 *		-> (subscription_id int8, session_key text, listen_channel text,
 *			after_seq int8)
 *
 * Follow the changes of a published table, as the current role and user; or,
 * without a table, what is sent to a topic and who is there.
 *
 *	topic		1 to 255 bytes; beside a table for the subscriber's own use
 *	event		INSERT, UPDATE, DELETE or *; of a topic: broadcast, presence or *
 *	filter		column=operator.value, several joined by commas; NULL or
 *				empty: every row
 *	since		what was committed from there on is wanted too; the first
 *				message is a gap when that is not known any more
 *
 * The subscription is live when the function returns, and stays so when the
 * transaction is rolled back.  after_seq is 0.
 *
 * Errors: 22023 an argument is wrong, the table is unknown or unpublished;
 * 42501 no right to read the table or the topic; 53400 too many subscriptions;
 * 55000 the stream does not run here, the table has no replica identity, or
 * its policies could not be stopped lately; 0A000 a kind of table that cannot
 * be followed, or a policy that reads a system column; what a SELECT would
 * raise before it has read a row.
 */
PG_FUNCTION_INFO_V1(plinth_sql_router_subscribe);
Datum
plinth_sql_router_subscribe(PG_FUNCTION_ARGS)
{
	RouterSubscription *sub = palloc0(sizeof(RouterSubscription));
	TupleDesc desc;
	char *topic = text_argument(fcinfo, 0, "topic");
	char *key;
	char *filter = NULL;
	const char *claims;
	Datum values[4];
	bool nulls[4] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	plinth_topic_check(topic);
	strlcpy(sub->topic, topic, sizeof(sub->topic));
	if (PG_ARGISNULL(1) && PG_ARGISNULL(2))
		follow_topic(fcinfo, sub);
	else
		filter = follow_table(fcinfo, sub);
	claims = set_identity(sub);
	key = plinth_router_new_key(sub);

	/*
	 * In this order: what is committed after the position is matched by it,
	 * and what was in commit meanwhile by the snapshot's oldest transaction.
	 * What is neither is visible to the caller's next statement.
	 */
	sub->start_lsn = GetXLogInsertRecPtr();
	sub->start_xmin = GetLatestSnapshot()->xmin;

	if (!PG_ARGISNULL(5))
		set_since(sub, PG_GETARG_LSN(5));
	enter(sub, claims, filter);

	values[0] = Int64GetDatum((int64) sub->id);
	values[1] = CStringGetTextDatum(key);
	values[2] = CStringGetTextDatum(sub->channel);
	values[3] = Int64GetDatum(0);
	PG_RETURN_DATUM(
		HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * plinth.realtime_unsubscribe(subscription_id int8, session_key text) -> void
 *
 * End a subscription.
 *
 * Errors: P0002 there is none of that id; 42501 the key is another's.
 */
PG_FUNCTION_INFO_V1(plinth_sql_router_unsubscribe);
Datum
plinth_sql_router_unsubscribe(PG_FUNCTION_ARGS)
{
	plinth_router_require();
	plinth_router_remove((uint64) PG_GETARG_INT64(0),
						 text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/*
 * plinth.realtime_renew(subscription_id int8, session_key text, token text)
 *		-> void
 *
 * Let a subscription live until a new token of its user ends.  Whether that
 * user may read from a topic is asked again.
 *
 * Errors: 28000 the token is not good; 42501 it is another user's, the key
 * another's, or the topic not for the user any more; P0002 no such
 * subscription; 53400 no room for its claims; 55000 it has ended.
 */
PG_FUNCTION_INFO_V1(plinth_sql_router_renew);
Datum
plinth_sql_router_renew(PG_FUNCTION_ARGS)
{
	RouterSubscription sub;
	const ClaimsIdentity *claims;

	plinth_router_require();
	plinth_router_open((uint64) PG_GETARG_INT64(0),
					   text_to_cstring(PG_GETARG_TEXT_PP(1)), &sub);
	claims = plinth_claims_of_token(PG_GETARG_DATUM(2));
	if (claims->has_user != sub.has_user ||
		(claims->has_user &&
		 memcmp(&claims->user_id, &sub.user_id, sizeof(pg_uuid_t)) != 0))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for this subscription"),
						errdetail("The token is another user's.")));
	if (!OidIsValid(sub.relid))
		require_topic_as(claims, sub.topic);
	check_claims_size(claims);
	switch (plinth_router_extend(sub.id, claims->expires_at, claims->json))
	{
		case ROUTER_ENTERED:
			break;
		case ROUTER_TEXTS_FULL:
			raise_texts_full();
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the subscription has ended"),
					 errhint("Call realtime.subscribe() and read afresh.")));
	}
	PG_RETURN_VOID();
}

/*
 * Read the arguments of a subscription to a table's changes.  Returns the
 * filter in the worker's form, or NULL.
 */
static char *
follow_table(FunctionCallInfo fcinfo, RouterSubscription *sub)
{
	char *schema;
	char *table;
	RouterRoute route;
	RouterProblem problem;

	sub->events = read_event(text_argument(fcinfo, 3, "event"));
	schema = text_argument(fcinfo, 1, "schema_name");
	table = text_argument(fcinfo, 2, "table_name");

	require_stream();
	sub->relid = find_table(schema, table);
	sub->role = GetUserId();
	if (!plinth_router_compile(sub->relid, sub->role, &route, &problem))
		raise_problem(&problem);
	sub->route = route.kind;
	if (route.kind == ROUTER_ROUTE_QUERY)
		try_policies(sub->relid);
	if (PG_ARGISNULL(4) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(4)) == 0)
		return NULL;
	return read_filter(text_to_cstring(PG_GETARG_TEXT_PP(4)), sub->relid, &route);
}

/*
 * Read the arguments of a subscription to a topic, which its rules allow.
 */
static void
follow_topic(FunctionCallInfo fcinfo, RouterSubscription *sub)
{
	sub->events = read_topic_event(text_argument(fcinfo, 3, "event"));
	if (!PG_ARGISNULL(4))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a filter needs a table"),
						errhint("Name a schema and a table.")));

	require_stream();
	plinth_topic_require(sub->topic, TOPIC_READ);
	sub->relid = InvalidOid;
	sub->role = GetUserId();
	sub->route = ROUTER_ROUTE_ALL;
}

/*
 * Raise 55000 where no change can be decoded.
 */
static void
require_stream(void)
{
	plinth_router_require();
	if (!XLogLogicalInfoActive())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the change stream is not available"),
						errdetail("\"wal_level\" is not \"logical\"."),
						errhint(PLINTH_PREFLIGHT_HINT)));
}

/*
 * A text argument that must not be NULL.
 */
static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/*
 * The events that a word means.
 */
static uint8
read_event(const char *event)
{
	if (strcmp(event, "*") == 0)
		return ROUTER_EVENT_ALL;
	if (strcmp(event, "INSERT") == 0)
		return ROUTER_EVENT_INSERT;
	if (strcmp(event, "UPDATE") == 0)
		return ROUTER_EVENT_UPDATE;
	if (strcmp(event, "DELETE") == 0)
		return ROUTER_EVENT_DELETE;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid event \"%s\"", event),
					errdetail("The events are INSERT, UPDATE, DELETE and "
							  "*.")));
}

/*
 * The events of a topic that a word means.
 */
static uint8
read_topic_event(const char *event)
{
	if (strcmp(event, "*") == 0)
		return ROUTER_EVENT_TOPIC;
	if (strcmp(event, "broadcast") == 0)
		return ROUTER_EVENT_BROADCAST;
	if (strcmp(event, "presence") == 0)
		return ROUTER_EVENT_PRESENCE;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid event \"%s\"", event),
					errdetail("The events of a topic are broadcast, presence "
							  "and *."),
					errhint("To follow a table, name its schema and table.")));
}

/*
 * The table of a name, which stays until the transaction ends.
 */
static Oid
find_table(const char *schema, const char *table)
{
	Oid namespace = get_namespace_oid(schema, true);
	Oid relid = InvalidOid;

	if (OidIsValid(namespace))
		relid = get_relname_relid(table, namespace);
	if (OidIsValid(relid))
	{
		LockRelationOid(relid, AccessShareLock);
		if (get_relname_relid(table, namespace) != relid)
			relid = InvalidOid;
	}
	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no table \"%s.%s\"", schema, table)));
	return relid;
}

/*
 * A filter in the worker's form; raises what is wrong with it.
 */
static char *
read_filter(const char *text, Oid relid, const RouterRoute *route)
{
	Relation rel = table_open(relid, NoLock);
	char *filter = plinth_router_canonical_filter(rel, text, route->readable);

	table_close(rel, NoLock);
	return filter;
}

/*
 * Raise what the caller's own SELECT would raise before it has read a row: the
 * worker could not judge for this caller either.
 */
static void
try_policies(Oid relid)
{
	char *table = quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute(psprintf("SELECT FROM %s LIMIT 0", table), true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not select from %s", table);
	SPI_finish();
}

/*
 * Whose subscription it is, and until when.  Returns the claims, or NULL.
 */
static const char *
set_identity(RouterSubscription *sub)
{
	const ClaimsIdentity *claims = plinth_claims_current();
	const char *stated;

	sub->expires_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  ROUTER_DEFAULT_LIFE_MS);
	if (claims == NULL)
		return NULL;
	check_claims_size(claims);
	sub->has_user = claims->has_user;
	sub->user_id = claims->user_id;
	stated = GetConfigOption(PLINTH_CLAIMS_SETTING, true, false);
	sub->stated = stated != NULL && strcmp(stated, claims->json) == 0;
	if (!TIMESTAMP_IS_NOEND(claims->expires_at))
		sub->expires_at = claims->expires_at;
	return claims->json;
}

/*
 * Refuse claims that are too large to be kept.
 */
static void
check_claims_size(const ClaimsIdentity *claims)
{
	if (strlen(claims->json) > ROUTER_MAX_CLAIMS)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("the claims are too large to follow changes"),
						errdetail("They may have at most %d bytes.",
								  ROUTER_MAX_CLAIMS)));
}

/*
 * Enter a subscription, waiting for the stream worker if need be.
 */
static void
enter(RouterSubscription *sub, const char *claims, const char *filter)
{
	RouterEntry entry = plinth_router_enter(sub, claims, filter);

	if (entry == ROUTER_NO_WORKER &&
		plinth_router_await_worker(ROUTER_AWAIT_WORKER_MS))
		entry = plinth_router_enter(sub, claims, filter);

	switch (entry)
	{
		case ROUTER_ENTERED:
		case ROUTER_ENDED:
			return;
		case ROUTER_TEXTS_FULL:
			raise_texts_full();
			break;
		case ROUTER_NO_WORKER:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the change stream is not running in this database"),
					 errhint(PLINTH_PREFLIGHT_HINT)));
			break;
		case ROUTER_USER_LIMIT:
			ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
							errmsg("too many subscriptions"),
							errdetail("A user may have %d live subscriptions.",
									  ROUTER_MAX_PER_USER),
							errhint("End those that are not needed any more with "
									"realtime.unsubscribe().")));
			break;
		case ROUTER_FULL:
			ereport(
				ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many subscriptions"),
				 errdetail("All %d are in use.", plinth_router_max_subscriptions),
				 errhint("Increase \"plinth.realtime_max_subscriptions\" and "
						 "restart the server.")));
	}
}

/*
 * Raise that the memory for claims and filters is used up.
 */
static void
raise_texts_full(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many subscriptions"),
			 errdetail("The memory for their claims and filters is used up."),
			 errhint("Increase \"plinth.realtime_max_subscriptions\" and "
					 "restart the server.")));
}

/*
 * Raise 42501 unless a user may read from a topic: asked with the claims of
 * its token in force, which the server takes back afterwards, and after an
 * error with the transaction.
 */
static void
require_topic_as(const ClaimsIdentity *claims, const char *topic)
{
	int level = NewGUCNestLevel();

	plinth_claims_set_verified(claims->json, true);
	plinth_topic_require(topic, TOPIC_READ);
	AtEOXact_GUC(false, level);
}

/*
 * What was committed before the start is wanted too.  Of topics nothing is
 * kept, and what has not been written yet is known to another server.
 */
static void
set_since(RouterSubscription *sub, XLogRecPtr since)
{
	if (OidIsValid(sub->relid) && since != InvalidXLogRecPtr &&
		since <= sub->start_lsn)
		sub->since = since;
	else if (since != sub->start_lsn)
		sub->gaps = 1;
}

/*
 * Raise what stands in the way of a route.
 */
static void
raise_problem(const RouterProblem *problem)
{
	ereport(ERROR,
			(errcode(problem->sqlerrcode), errmsg_internal("%s", problem->message),
			 problem->detail ? errdetail_internal("%s", problem->detail) : 0,
			 problem->hint ? errhint("%s", problem->hint) : 0));
}
