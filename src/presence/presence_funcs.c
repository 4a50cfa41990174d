/*-------------------------------------------------------------------------
 *
 * presence_funcs.c
 *		SQL face of presence.
 *
 * Whoever calls speaks for the user of its claims and for nobody else; the
 * name and picture come from that user's profile.  What a client sends beside
 * the keys that are named here is ignored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "presence/presence_internal.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/json_out.h"
#include "base/names.h"
#include "claims/claims.h"

/* Columns of realtime.presence. */
#define PRESENCE_COLUMNS 12

#define ANONYMOUS "Anonymous"

/* Who, of those that stand for a user, is the best? */
typedef struct PresenceUser
{
	const PresenceState *best;
	int connections;
} PresenceUser;

static void read_caller(FunctionCallInfo fcinfo, PresenceCaller *caller);
static void finish(PresenceOutcome outcome);
static void read_state(Jsonb *json, PresenceState *state);
static void read_device(JsonbValue *info, PresenceState *state);
static char *member_text(JsonbContainer *object, const char *name);
static PresenceStatus read_status(const char *name);
static char *check_page(char *page);
static void check_characters(const char *text, int limit, const char *what);
static void read_profile(const pg_uuid_t *user_id, PresenceState *state);
static int compare_states(const void *a, const void *b);
static void write_user(StringInfo out, const PresenceUser *user);
static void put_state(ReturnSetInfo *result, const PresenceState *state);
static Datum text_or_null(const char *text, bool *is_null);

/*
 * plinth.realtime_track(topic text, connection_id uuid, state jsonb) -> void
 *
 * The caller is under a topic with a connection; what it said of the
 * connection before is replaced.
 *
 *	state	an object: status (online, away, busy, offline; else online),
 *			current_page (at most 2048 characters), device_info {type, browser},
 *			meta (an object of at most 4 kB); other keys are ignored
 *
 * Errors: 22023 an argument is wrong; 28000 no user; 42501 the topic is not
 * for the caller; 53400 too many connections; 55000 not preloaded, or the
 * module realtime is not installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_track);
Datum
plinth_sql_presence_track(PG_FUNCTION_ARGS)
{
	PresenceCaller caller;
	PresenceState state = {.status = PRESENCE_ONLINE, .meta = "{}"};
	PresenceEdit edit = {.whole = &state};

	read_caller(fcinfo, &caller);
	if (PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"state\" must not be null")));
	read_state(PG_GETARG_JSONB_P(2), &state);
	plinth_topic_require(caller.topic, TOPIC_WRITE);
	read_profile(&caller.user_id, &state);
	finish(plinth_presence_edit(&caller, &edit));
	PG_RETURN_VOID();
}

/*
 * plinth.realtime_set_status(topic text, connection_id uuid, status text)
 *		-> void
 *
 * Errors: as track, and P0002 the connection is not there.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_set_status);
Datum
plinth_sql_presence_set_status(PG_FUNCTION_ARGS)
{
	PresenceCaller caller;
	PresenceStatus status;
	PresenceEdit edit = {.status = &status};

	read_caller(fcinfo, &caller);
	if (PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"status\" must not be null")));
	status = read_status(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	plinth_topic_require(caller.topic, TOPIC_WRITE);
	finish(plinth_presence_edit(&caller, &edit));
	PG_RETURN_VOID();
}

/*
 * plinth.realtime_set_current_page(topic text, connection_id uuid, page text)
 *		-> void
 *
 *	page	at most 2048 characters; NULL: none
 *
 * Errors: as track, and P0002 the connection is not there.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_set_current_page);
Datum
plinth_sql_presence_set_current_page(PG_FUNCTION_ARGS)
{
	PresenceCaller caller;
	const char *page = NULL;
	PresenceEdit edit = {.page = &page};

	read_caller(fcinfo, &caller);
	if (!PG_ARGISNULL(2))
		page = check_page(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	plinth_topic_require(caller.topic, TOPIC_WRITE);
	finish(plinth_presence_edit(&caller, &edit));
	PG_RETURN_VOID();
}

/*
 * plinth.realtime_heartbeat(topic text, connection_id uuid) -> void
 *
 * Errors: as track, and P0002 the connection is not there.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_heartbeat);
Datum
plinth_sql_presence_heartbeat(PG_FUNCTION_ARGS)
{
	PresenceCaller caller;
	PresenceEdit edit = {0};

	read_caller(fcinfo, &caller);
	plinth_topic_require(caller.topic, TOPIC_WRITE);
	finish(plinth_presence_edit(&caller, &edit));
	PG_RETURN_VOID();
}

/*
 * plinth.realtime_untrack(topic text, connection_id uuid) -> void
 *
 * The connection leaves, if it was there.  Whoever may not use the topic any
 * more may still leave it.
 *
 * Errors: 22023 an argument is wrong; 28000 no user; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_untrack);
Datum
plinth_sql_presence_untrack(PG_FUNCTION_ARGS)
{
	PresenceCaller caller;

	read_caller(fcinfo, &caller);
	plinth_presence_untrack(&caller);
	PG_RETURN_VOID();
}

/*
 * plinth.realtime_presence_state(topic text) -> jsonb
 *
 * Who is under a topic: an object with a member for each user, by its id, and
 * two more, "online", how many users are, and "total", how many there are.
 * Of several connections of a user the one with the best status counts
 * (online, busy, away, offline), and of these the most recent.
 *
 * Errors: 22023 no topic of 1 to 255 bytes; 42501 the topic is not for the
 * caller; 55000 not preloaded, or the module realtime is not installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_state);
Datum
plinth_sql_presence_state(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	PresenceState *list;
	char *topic;
	int count;
	int online = 0;
	int total = 0;

	plinth_presence_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"topic\" must not be null")));
	topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	plinth_topic_check(topic);
	plinth_topic_require(topic, TOPIC_READ);

	list = plinth_presence_list(topic, &count);
	qsort(list, count, sizeof(PresenceState), compare_states);
	initStringInfo(&out);
	appendStringInfoCharMacro(&out, '{');
	for (int i = 0; i < count;)
	{
		PresenceUser user = {.best = &list[i]};

		while (i < count &&
			   memcmp(&list[i].user_id, &user.best->user_id, UUID_LEN) == 0)
		{
			user.connections++;
			i++;
		}
		total++;
		if (user.best->status == PRESENCE_ONLINE)
			online++;
		write_user(&out, &user);
		CHECK_FOR_INTERRUPTS();
	}
	plinth_json_name(&out, "online");
	appendStringInfo(&out, "%d", online);
	plinth_json_name(&out, "total");
	appendStringInfo(&out, "%d}", total);

	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/*
 * plinth.realtime_presence() -> setof record
 *
 * The connections under all topics that the caller may read from.
 *
 * Errors: 55000 the module realtime is not installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_presence_list);
Datum
plinth_sql_presence_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HTAB *judged;
	HASHCTL info = {.keysize = PLINTH_TOPIC_SIZE,
					.entrysize = PLINTH_TOPIC_SIZE + sizeof(bool),
					.hcxt = CurrentMemoryContext};
	PresenceState *list;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	if (plinth_presence == NULL)
		return (Datum) 0;

	judged = hash_create("plinth topics judged", 64, &info,
						 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	list = plinth_presence_list(NULL, &count);
	for (int i = 0; i < count; i++)
	{
		bool found;
		char *topic = hash_search(judged, list[i].topic, HASH_ENTER, &found);
		bool *allowed = (bool *) (topic + PLINTH_TOPIC_SIZE);

		CHECK_FOR_INTERRUPTS();
		if (!found)
			*allowed = plinth_topic_may_use(list[i].topic, TOPIC_READ);
		if (*allowed)
			put_state(result, &list[i]);
	}
	hash_destroy(judged);

	return (Datum) 0;
}

/*
 * The first two arguments, and the user of the claims.
 */
static void
read_caller(FunctionCallInfo fcinfo, PresenceCaller *caller)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	plinth_presence_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"topic\" must not be null")));
	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"connection_id\" must not be null")));
	caller->topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	plinth_topic_check(caller->topic);
	caller->connection_id = *PG_GETARG_UUID_P(1);

	if (claims == NULL || !claims->has_user)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("User not authenticated")));
	caller->user_id = claims->user_id;
	caller->expires_at = claims->expires_at;
}

/*
 * Raise what stood in the way.
 */
static void
finish(PresenceOutcome outcome)
{
	switch (outcome)
	{
		case PRESENCE_DONE:
			return;
		case PRESENCE_UNKNOWN:
			ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND),
							errmsg("the connection is not present"),
							errdetail("It was never tracked, or has left."),
							errhint("Call realtime.track().")));
			break;
		case PRESENCE_USER_LIMIT:
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("too many connections are present"),
					 errdetail("A user may have %d.", PRESENCE_MAX_PER_USER),
					 errhint("End those that are not needed any more with "
							 "realtime.untrack().")));
			break;
		case PRESENCE_FULL:
			ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
							errmsg("too many connections are present"),
							errdetail("The memory for %d is used up.",
									  plinth_presence_entries),
							errhint("Increase \"plinth.presence_entries\" and "
									"restart the server.")));
			break;
	}
}

/*
 * Read what a client says of its connection.
 */
static void
read_state(Jsonb *json, PresenceState *state)
{
	JsonbContainer *root = &json->root;
	JsonbValue value;
	char *text;

	if (!JsonContainerIsObject(root))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"state\" must be a JSON object")));

	text = member_text(root, "status");
	if (text != NULL)
		state->status = read_status(text);
	text = member_text(root, "current_page");
	if (text != NULL)
		state->current_page = check_page(text);
	if (getKeyJsonValueFromContainer(root, "device_info", 11, &value) != NULL)
		read_device(&value, state);
	if (getKeyJsonValueFromContainer(root, "meta", 4, &value) != NULL &&
		value.type != jbvNull)
	{
		if (value.type != jbvBinary ||
			!JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"meta\" must be a JSON object")));
		text = JsonbToCString(NULL, value.val.binary.data, value.val.binary.len);
		if (strlen(text) > PRESENCE_META_BYTES)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"meta\" is too large"),
							errdetail("It may have at most %d bytes as text.",
									  PRESENCE_META_BYTES)));
		state->meta = text;
	}
}

/*
 * Read device_info.
 */
static void
read_device(JsonbValue *info, PresenceState *state)
{
	JsonbContainer *object = info->val.binary.data;
	char *type;
	char *browser;

	if (info->type == jbvNull)
		return;
	if (info->type != jbvBinary || !JsonContainerIsObject(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"device_info\" must be a JSON object")));

	type = member_text(object, "type");
	for (PresenceDevice i = PRESENCE_DESKTOP;
		 type != NULL && i <= PRESENCE_TABLET; i++)
		if (strcmp(type, plinth_presence_device_name(i)) == 0)
			state->device = i;
	if (type != NULL && state->device == PRESENCE_NO_DEVICE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid device type \"%s\"", type),
						errdetail("The types are desktop, mobile and tablet.")));

	browser = member_text(object, "browser");
	if (browser != NULL)
		check_characters(browser, PRESENCE_BROWSER_CHARS, "browser");
	state->browser = browser;
}

/*
 * A member that has to be a string; NULL when it is missing or null.
 */
static char *
member_text(JsonbContainer *object, const char *name)
{
	JsonbValue value;

	if (getKeyJsonValueFromContainer(object, name, (int) strlen(name), &value) ==
			NULL ||
		value.type == jbvNull)
		return NULL;
	if (value.type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" must be a string", name)));
	return pnstrdup(value.val.string.val, value.val.string.len);
}

static PresenceStatus
read_status(const char *name)
{
	for (PresenceStatus i = PRESENCE_ONLINE; i <= PRESENCE_OFFLINE; i++)
		if (strcmp(name, plinth_presence_status_name(i)) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid status \"%s\"", name),
					errdetail("A status is online, away, busy or offline.")));
}

static char *
check_page(char *page)
{
	check_characters(page, PRESENCE_PAGE_CHARS, "current_page");
	return page;
}

static void
check_characters(const char *text, int limit, const char *what)
{
	if (pg_mbstrlen(text) > limit)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" is too long", what),
						errdetail("It may have at most %d characters.", limit)));
}

/*
 * What the user shows of itself: read with the owner's rights, because what a
 * client may read of profiles is the application's choice.
 */
static void
read_profile(const pg_uuid_t *user_id, PresenceState *state)
{
	Oid type = UUIDOID;
	Datum value = UUIDPGetDatum(user_id);
	MemoryContext caller = CurrentMemoryContext;
	Oid saved_user;
	int saved_context;

	state->username = ANONYMOUS;
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   saved_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
	if (SPI_execute_with_args(
			"SELECT p.username, p.avatar_url FROM profiles.profiles AS p "
			"WHERE p.id OPERATOR(pg_catalog.=) $1",
			1, &type, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a profile");
	if (SPI_processed > 0)
	{
		char *username =
			SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		char *avatar =
			SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

		if (username != NULL && pg_mbstrlen(username) <= PRESENCE_NAME_CHARS)
			state->username = MemoryContextStrdup(caller, username);
		if (avatar != NULL && pg_mbstrlen(avatar) <= PRESENCE_AVATAR_CHARS)
			state->avatar_url = MemoryContextStrdup(caller, avatar);
	}
	SPI_finish();
	SetUserIdAndSecContext(saved_user, saved_context);
}

/*
 * Users together, and of each first the connection that stands for it.
 */
static int
compare_states(const void *a, const void *b)
{
	const PresenceState *left = a;
	const PresenceState *right = b;
	int order = memcmp(&left->user_id, &right->user_id, UUID_LEN);

	if (order != 0)
		return order;
	if (left->status != right->status)
		return left->status < right->status ? -1 : 1;
	if (left->last_seen != right->last_seen)
		return left->last_seen > right->last_seen ? -1 : 1;
	return memcmp(&left->connection_id, &right->connection_id, UUID_LEN);
}

/*
 * Append the member of a user.
 */
static void
write_user(StringInfo out, const PresenceUser *user)
{
	plinth_json_comma(out);
	plinth_json_uuid(out, &user->best->user_id);
	appendStringInfoString(out, ":{");
	plinth_presence_write(out, user->best);
	plinth_json_name(out, "connections");
	appendStringInfo(out, "%d}", user->connections);
}

/*
 * Add a row of realtime.presence.
 */
static void
put_state(ReturnSetInfo *result, const PresenceState *state)
{
	Datum values[PRESENCE_COLUMNS] = {0};
	bool nulls[PRESENCE_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(state->topic);
	values[1] = UUIDPGetDatum(&state->user_id);
	values[2] = UUIDPGetDatum(&state->connection_id);
	values[3] = text_or_null(state->username, &nulls[3]);
	values[4] = text_or_null(state->avatar_url, &nulls[4]);
	values[5] = CStringGetTextDatum(plinth_presence_status_name(state->status));
	values[6] = TimestampTzGetDatum(state->last_seen);
	values[7] = TimestampTzGetDatum(state->online_at);
	values[8] = text_or_null(state->current_page, &nulls[8]);
	values[9] =
		text_or_null(plinth_presence_device_name(state->device), &nulls[9]);
	values[10] = text_or_null(state->browser, &nulls[10]);
	values[11] = DirectFunctionCall1(jsonb_in, CStringGetDatum(state->meta));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static Datum
text_or_null(const char *text, bool *is_null)
{
	*is_null = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}
