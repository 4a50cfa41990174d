/*-------------------------------------------------------------------------
 *
 * decoder_filter.c
 *		Row filters of publications, on decoded rows.
 *
 * As PostgreSQL's own replication applies them: an UPDATE is judged by both
 * images where the WAL carries both; one that brings a row into what is
 * published becomes an INSERT, one that takes it out a DELETE.  A condition
 * that is NULL is not met.
 *
 * Filters hold nothing but columns, constants and immutable built-in
 * functions and operators, so they can be evaluated under a historic
 * snapshot.  They may fail, as in 1 / n > 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"

/* Lives in the context that was current when it was made. */
typedef struct DecoderFilter
{
	ExprState *conditions[3]; /* by WireAction; NULL: every row passes */
	EState *estate;
	TupleTableSlot *slot;
} DecoderFilter;

static bool passes(DecoderFilter *filter, ExprState *condition,
				   const Datum *values, const bool *nulls, TupleDesc desc);

/*
 * Prepare the filters of a table, or return NULL when there is none.
 */
struct DecoderFilter *
plinth_decoder_filter(const DecoderPublished *published, TupleDesc desc)
{
	DecoderFilter *filter;

	if (published->filters[WIRE_INSERT] == NIL &&
		published->filters[WIRE_UPDATE] == NIL &&
		published->filters[WIRE_DELETE] == NIL)
		return NULL;

	filter = palloc0(sizeof(DecoderFilter));
	filter->estate = CreateExecutorState();
	filter->slot =
		MakeSingleTupleTableSlot(CreateTupleDescCopy(desc), &TTSOpsVirtual);
	for (int i = 0; i < 3; i++)
	{
		List *conditions = NIL;
		ListCell *cell;

		foreach (cell, published->filters[i])
			conditions = lappend(conditions, stringToNode(lfirst(cell)));
		if (conditions != NIL)
			filter->conditions[i] =
				ExecPrepareExpr(make_orclause(conditions), filter->estate);
	}
	return filter;
}

/*
 * Is the change published?  May make it another action.
 */
bool
plinth_decoder_passes(struct DecoderFilter *filter, DecoderRows *rows)
{
	ExprState *condition = filter->conditions[rows->action];
	bool old_passes;
	bool new_passes;

	if (condition == NULL)
		return true;

	if (rows->old_tuple == NULL && rows->new_tuple == NULL)
		return false;
	if (rows->old_tuple == NULL)
		return passes(filter, condition, rows->new_values, rows->new_nulls,
					  rows->desc);
	old_passes =
		passes(filter, condition, rows->old_values, rows->old_nulls, rows->desc);
	if (rows->new_tuple == NULL)
		return old_passes;
	new_passes =
		passes(filter, condition, rows->new_values, rows->new_nulls, rows->desc);

	if (new_passes && !old_passes)
	{
		rows->action = WIRE_INSERT;
		rows->old_tuple = NULL;
	}
	else if (old_passes && !new_passes)
	{
		rows->action = WIRE_DELETE;
		rows->new_tuple = NULL;
	}
	return old_passes || new_passes;
}

static bool
passes(DecoderFilter *filter, ExprState *condition, const Datum *values,
	   const bool *nulls, TupleDesc desc)
{
	ExprContext *context = GetPerTupleExprContext(filter->estate);
	Datum result;
	bool is_null;

	ResetExprContext(context);
	ExecClearTuple(filter->slot);
	memcpy(filter->slot->tts_values, values, sizeof(Datum) * desc->natts);
	memcpy(filter->slot->tts_isnull, nulls, sizeof(bool) * desc->natts);
	ExecStoreVirtualTuple(filter->slot);

	context->ecxt_scantuple = filter->slot;
	result = ExecEvalExprSwitchContext(condition, context, &is_null);
	return !is_null && DatumGetBool(result);
}
