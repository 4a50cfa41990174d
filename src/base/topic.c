/*-------------------------------------------------------------------------
 *
 * topic.c
 *		Asks the module realtime whether the caller may use a topic.
 *
 * realtime.may_use() is the one judge of it.  Its result is not cached: who
 * has left a room may not use its topic from then on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/topic.h"

#include "base/functions.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#define TOPIC_SCHEMA "realtime"
#define TOPIC_FUNCTION "may_use"

void
plinth_topic_check(const char *topic)
{
	if (topic[0] == '\0' || strlen(topic) >= PLINTH_TOPIC_SIZE)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid topic"),
			 errdetail("A topic has 1 to %d bytes.", PLINTH_TOPIC_SIZE - 1)));
}

bool
plinth_topic_may_use(const char *topic, TopicAction action)
{
	static const Oid types[] = {TEXTOID, TEXTOID};
	Oid function = plinth_module_function(TOPIC_SCHEMA, TOPIC_FUNCTION,
										  lengthof(types), types, BOOLOID);
	LOCAL_FCINFO(call, 2);
	FmgrInfo info;
	Datum result;

	if (!OidIsValid(function))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the module \"realtime\" is not installed"),
						errhint("SELECT plinth.install('realtime');")));

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*call, &info, 2, DEFAULT_COLLATION_OID, NULL, NULL);
	call->args[0].value = CStringGetTextDatum(topic);
	call->args[0].isnull = false;
	call->args[1].value =
		CStringGetTextDatum(action == TOPIC_READ ? "read" : "write");
	call->args[1].isnull = false;
	result = FunctionCallInvoke(call);

	return !call->isnull && DatumGetBool(result);
}

void
plinth_topic_require(const char *topic, TopicAction action)
{
	if (!plinth_topic_may_use(topic, action))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for topic \"%s\"", topic)));
}
