/*-------------------------------------------------------------------------
 *
 * audit_trigger.c
 *		The trigger functions that write the audit log.
 *
 * Two forms do the same work.  The statement form reads the transition
 * tables and serves plain tables.  The row form serves partitioned tables
 * and tables in an inheritance tree, where the server's transition tables
 * pair rows wrongly, lose rows that MERGE moves, or show children's rows
 * without the children's columns.
 *
 * Both write with no rights but their own: whoever changes an audited table
 * needs none on the log.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "audit/audit.h"
#include "base/compat.h"

/* plinth.audit_full_rows: an UPDATE keeps whole rows, not only changes */
static bool full_rows = false;

/* What the row form keeps for the other rows of the statement. */
typedef struct RowState
{
	const AuditShape *shape;
	bool *changed; /* scratch, one for each column of the shape */
} RowState;

static TriggerData *trigger_data(FunctionCallInfo fcinfo);
static const AuditShape *shape_of(const TriggerData *trigdata);
static void audit_truncate(TriggerData *trigdata);
static void write_one(const AuditShape *shape, const AuditRecord *record);
static void audit_one_table(TriggerData *trigdata, Tuplestorestate *rows);
static void audit_update(TriggerData *trigdata);
static int64 count_rows(Tuplestorestate *rows);
static TupleTableSlot *open_rows(Tuplestorestate *rows, TupleDesc tupdesc);
static void describe_row(const AuditShape *shape, TupleTableSlot *slot,
						 bool is_insert, AuditRecord *record);
static void describe_update(const AuditShape *shape, TupleTableSlot *before,
							TupleTableSlot *after, const bool *changed,
							AuditRecord *record);

/*
 * Define plinth.audit_*.  Called once, from _PG_init().
 */
void
plinth_audit_define_settings(void)
{
	DefineCustomBoolVariable("plinth.audit_full_rows",
							 "Enables whole rows in the audit records of updates.",
							 "When off, only the columns that changed are kept.",
							 &full_rows, false, PGC_SUSET, 0, NULL, NULL, NULL);
	plinth_audit_seal_define_settings();
}

/*
 * plinth.audit_statement() -> trigger
 *
 * AFTER, FOR EACH STATEMENT; INSERT, UPDATE and DELETE with the transition
 * tables that the event has, and TRUNCATE.  Writes one record for each row,
 * all with one time.
 *
 * Arguments, both text[] literals: columns whose values are not kept;
 * columns whose change alone makes no record.
 *
 * Errors: 39P01 it is not called as such a trigger; 55000 the log is not
 * installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_statement);
Datum
plinth_sql_audit_statement(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = trigger_data(fcinfo);
	MemoryContext context;
	MemoryContext caller;

	if (!TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" must be fired for each statement",
							   trigdata->tg_trigger->tgname)));

	context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth audit statement", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		audit_truncate(trigdata);
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		audit_one_table(trigdata, trigdata->tg_newtable);
	else if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		audit_one_table(trigdata, trigdata->tg_oldtable);
	else
		audit_update(trigdata);

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

	return PointerGetDatum(NULL);
}

/*
 * plinth.audit_row() -> trigger
 *
 * The same, AFTER and FOR EACH ROW, for tables that cannot have transition
 * tables.  A row that moves to another partition is a DELETE and an INSERT.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_row);
Datum
plinth_sql_audit_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = trigger_data(fcinfo);
	RowState *state = fcinfo->flinfo->fn_extra;
	AuditRecord record = {0};
	MemoryContext context;
	MemoryContext caller;

	if (!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" must be fired for each row",
							   trigdata->tg_trigger->tgname)));

	/* the function's memory lasts as long as the statement, on one table */
	if (state == NULL)
	{
		caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		state = palloc0(sizeof(RowState));
		state->shape = shape_of(trigdata);
		state->changed = palloc0(sizeof(bool) * state->shape->ncolumns);
		fcinfo->flinfo->fn_extra = state;
		MemoryContextSwitchTo(caller);
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "plinth audit row",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);

	if (!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		describe_row(state->shape, trigdata->tg_trigslot,
					 TRIGGER_FIRED_BY_INSERT(trigdata->tg_event), &record);
		write_one(state->shape, &record);
	}
	else if (plinth_audit_changes(state->shape, trigdata->tg_trigslot,
								  trigdata->tg_newslot, state->changed))
	{
		describe_update(state->shape, trigdata->tg_trigslot,
						trigdata->tg_newslot, state->changed, &record);
		write_one(state->shape, &record);
	}

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

	return PointerGetDatum(NULL);
}

/*
 * Get the call's trigger data, or refuse the call.
 */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("an audit function was not called as a trigger"),
						errhint("Use audit.attach().")));
	if (!TRIGGER_FIRED_AFTER(trigdata->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" must be fired after the event",
							   trigdata->tg_trigger->tgname),
						errhint("Use audit.attach().")));

	return trigdata;
}

static const AuditShape *
shape_of(const TriggerData *trigdata)
{
	return plinth_audit_shape_of(trigdata->tg_relation, trigdata->tg_trigger);
}

static void
audit_truncate(TriggerData *trigdata)
{
	AuditRecord record = {.action = "TRUNCATE"};

	write_one(shape_of(trigdata), &record);
}

static void
write_one(const AuditShape *shape, const AuditRecord *record)
{
	AuditWriter *writer = plinth_audit_write_begin(shape, 1);

	plinth_audit_write(writer, record);
	plinth_audit_write_end(writer);
}

/*
 * Write a record for each row of the only transition table that the event
 * has.
 */
static void
audit_one_table(TriggerData *trigdata, Tuplestorestate *rows)
{
	bool is_insert = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event);
	int64 count = count_rows(rows);
	TupleTableSlot *slot;
	const AuditShape *shape;
	AuditWriter *writer;

	if (count == 0)
		return;

	shape = shape_of(trigdata);
	slot = open_rows(rows, RelationGetDescr(trigdata->tg_relation));
	writer = plinth_audit_write_begin(shape, count);

	/* a row that was spilled belongs to the slot, so not to the batch */
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		AuditRecord record = {0};
		MemoryContext caller =
			MemoryContextSwitchTo(plinth_audit_write_context(writer));

		describe_row(shape, slot, is_insert, &record);
		MemoryContextSwitchTo(caller);
		plinth_audit_write(writer, &record);
	}

	plinth_audit_write_end(writer);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Write a record for each pair of old and new row that differ.
 */
static void
audit_update(TriggerData *trigdata)
{
	TupleDesc tupdesc = RelationGetDescr(trigdata->tg_relation);
	Tuplestorestate *old_rows = trigdata->tg_oldtable;
	Tuplestorestate *new_rows = trigdata->tg_newtable;
	int64 count = count_rows(old_rows);
	int64 new_count = count_rows(new_rows);
	TupleTableSlot *before;
	TupleTableSlot *after;
	AuditWriter *writer = NULL;
	const AuditShape *shape;
	bool *changed;

	/* the pairs are made by position, which must be possible */
	if (new_count != count)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not pair the old and new rows of table \"%s\"",
						RelationGetRelationName(trigdata->tg_relation)),
				 errdetail("There are %lld old and %lld new rows.",
						   (long long) count, (long long) new_count),
				 errhint("Use audit.attach() again, which chooses the form "
						 "of trigger that the table needs.")));
	if (count == 0)
		return;

	shape = shape_of(trigdata);
	changed = palloc0(sizeof(bool) * Max(shape->ncolumns, 1));
	before = open_rows(old_rows, tupdesc);
	after = open_rows(new_rows, tupdesc);

	while (tuplestore_gettupleslot(old_rows, true, false, before) &&
		   tuplestore_gettupleslot(new_rows, true, false, after))
	{
		AuditRecord record = {0};
		MemoryContext caller;

		CHECK_FOR_INTERRUPTS();
		if (!plinth_audit_changes(shape, before, after, changed))
			continue;
		if (writer == NULL)
			writer = plinth_audit_write_begin(shape, count);

		caller = MemoryContextSwitchTo(plinth_audit_write_context(writer));
		describe_update(shape, before, after, changed, &record);
		MemoryContextSwitchTo(caller);
		plinth_audit_write(writer, &record);
	}

	if (writer != NULL)
		plinth_audit_write_end(writer);
	ExecDropSingleTupleTableSlot(before);
	ExecDropSingleTupleTableSlot(after);
}

/*
 * Number of rows in a transition table.
 */
static int64
count_rows(Tuplestorestate *rows)
{
	if (rows == NULL)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("an audit trigger has no transition table"),
						errhint("Use audit.attach().")));

	return tuplestore_tuple_count(rows);
}

/*
 * Begin to read a transition table from its first row.
 */
static TupleTableSlot *
open_rows(Tuplestorestate *rows, TupleDesc tupdesc)
{
	tuplestore_select_read_pointer(
		rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);

	return MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
}

/*
 * Make the record of a row that has come or gone.
 */
static void
describe_row(const AuditShape *shape, TupleTableSlot *slot, bool is_insert,
			 AuditRecord *record)
{
	Jsonb *image = plinth_audit_image(shape, slot, shape->every);

	record->action = is_insert ? "INSERT" : "DELETE";
	record->before = is_insert ? NULL : image;
	record->after = is_insert ? image : NULL;
	plinth_audit_row_key(shape, slot, record);
}

/*
 * Make the record of a row that has changed.  It is found under the key that
 * the row has now; a key that changed is among the old values.
 */
static void
describe_update(const AuditShape *shape, TupleTableSlot *before,
				TupleTableSlot *after, const bool *changed, AuditRecord *record)
{
	const bool *which = full_rows ? shape->every : changed;

	record->action = "UPDATE";
	record->before = plinth_audit_image(shape, before, which);
	record->after = plinth_audit_image(shape, after, which);
	record->changed = plinth_audit_names(shape, changed);
	plinth_audit_row_key(shape, after, record);
}
