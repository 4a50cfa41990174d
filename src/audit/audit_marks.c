/*-------------------------------------------------------------------------
 *
 * audit_marks.c
 *		Marks: what was done to the trail rather than to the tables that it
 *		follows.
 *
 * Under session_replication_role = replica ordinary triggers do not fire, so
 * what is written has no records.  This trigger always does, and says that
 * it happened.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "audit/audit_seal.h"
#include "base/compat.h"
#include "base/names.h"
#include "claims/claims.h"

static const char *event_name(TriggerEvent event);

/*
 * plinth.audit_mark() -> trigger
 *
 * BEFORE, FOR EACH STATEMENT, ENABLE ALWAYS.  Writes a mark "replica_role"
 * when the session has that role.  Nothing is marked where logical
 * replication applies changes, which have their records where they were
 * made, nor in a restored database that waits for plinth.enable().
 *
 * Errors: 39P01 it is not called as such a trigger.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_mark);
Datum
plinth_sql_audit_mark(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("plinth.audit_mark() was not called as a "
							   "statement trigger"),
						errhint("Use audit.attach().")));

	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA ||
		IsLogicalWorker())
		return PointerGetDatum(NULL);

	if (plinth_audit_marks_wanted())
		plinth_audit_write_mark(
			"replica_role",
			get_namespace_name(RelationGetNamespace(trigdata->tg_relation)),
			RelationGetRelationName(trigdata->tg_relation),
			event_name(trigdata->tg_event));

	return PointerGetDatum(NULL);
}

static const char *
event_name(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "INSERT";
	if (TRIGGER_FIRED_BY_UPDATE(event))
		return "UPDATE";
	if (TRIGGER_FIRED_BY_DELETE(event))
		return "DELETE";

	return "TRUNCATE";
}

/*
 * Are marks to be written?  Not where the table of marks is not there, nor in
 * a restored database that waits for plinth.enable().
 */
bool
plinth_audit_marks_wanted(void)
{
	Oid schema = get_namespace_oid("audit", true);
	bool is_ours;

	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid("marks", schema)))
		return false;

	PushActiveSnapshot(GetTransactionSnapshot());
	(void) plinth_audit_read_era(&is_ours);
	PopActiveSnapshot();

	return is_ours;
}

/*
 * Write a mark with the rights of the log's owner.  The text of the query is
 * not kept: it may hold what nobody should read.
 *
 *	schema, table	what it is about; NULL for none
 */
void
plinth_audit_write_mark(const char *kind, const char *schema, const char *table,
						const char *command)
{
	const ClaimsIdentity *identity = plinth_claims_current();
	bool has_user = identity != NULL && identity->has_user;
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID};
	Datum values[] = {CStringGetTextDatum(kind),
					  schema != NULL ? CStringGetTextDatum(schema) : (Datum) 0,
					  table != NULL ? CStringGetTextDatum(table) : (Datum) 0,
					  CStringGetTextDatum(command),
					  has_user ? UUIDPGetDatum(&identity->user_id) : (Datum) 0};
	const char nulls[] = {' ', schema != NULL ? ' ' : 'n',
						  table != NULL ? ' ' : 'n', ' ', has_user ? ' ' : 'n'};
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (SPI_execute_with_args("INSERT INTO audit.marks"
							  " (kind, table_schema, table_name, command, user_id)"
							  " VALUES ($1, $2, $3, $4, $5)",
							  lengthof(types), types, values, nulls, false,
							  0) != SPI_OK_INSERT)
		elog(ERROR, "could not write a mark of the audit log");
	SPI_finish();
	SetUserIdAndSecContext(user, context);
}
