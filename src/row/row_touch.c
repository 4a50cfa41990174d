/*-------------------------------------------------------------------------
 *
 * row_touch.c
 *		The time of a row's last change, kept by the row itself.
 *
 * One trigger function serves every table that has updated_at.  What the
 * client wrote into the column does not count, so that the time can be
 * trusted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "row/row.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"

#define ROW_TOUCH_COLUMN "updated_at"

static void check_call(FunctionCallInfo fcinfo);
static int find_column(Relation relation);

/*
 * plinth.touch_updated_at() -> trigger
 *
 * Set updated_at of the new row to the start of the transaction, whatever
 * the statement says.  BEFORE UPDATE, FOR EACH ROW, without arguments.
 *
 * Errors: 39P01 not called as such a trigger; 42703 the table has no
 * updated_at; 42804 the column is not timestamptz.
 */
PG_FUNCTION_INFO_V1(plinth_sql_row_touch);
Datum
plinth_sql_row_touch(PG_FUNCTION_ARGS)
{
	TriggerData *trigger;
	int column;
	Datum value;
	bool isnull = false;

	check_call(fcinfo);
	trigger = (TriggerData *) fcinfo->context;
	column = find_column(trigger->tg_relation);
	value = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());

	return PointerGetDatum(heap_modify_tuple_by_cols(
		trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation), 1,
		&column, &value, &isnull));
}

/*
 * Refuse every call but that of a BEFORE UPDATE row trigger without arguments.
 */
static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *trigger;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(
			ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg(
				 "\"plinth.touch_updated_at\" can only be called as a trigger")));

	trigger = (TriggerData *) fcinfo->context;
	if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(
			ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" cannot keep the time of the last change",
					trigger->tg_trigger->tgname),
			 errdetail("The time is set in a row before it is updated."),
			 errhint("Create the trigger with BEFORE UPDATE and FOR EACH ROW.")));

	if (trigger->tg_trigger->tgnargs != 0)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" cannot have arguments",
							   trigger->tg_trigger->tgname)));
}

/*
 * Find the column, which must hold a point in time.
 */
static int
find_column(Relation relation)
{
	TupleDesc descriptor = RelationGetDescr(relation);
	int column = SPI_fnumber(descriptor, ROW_TOUCH_COLUMN);

	if (column <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" has no column \"%s\"",
						RelationGetRelationName(relation), ROW_TOUCH_COLUMN)));

	if (TupleDescAttr(descriptor, column - 1)->atttypid != TIMESTAMPTZOID)
		ereport(
			ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table \"%s\" is not of type timestamp with time zone",
					ROW_TOUCH_COLUMN, RelationGetRelationName(relation))));

	return column;
}
