/*-------------------------------------------------------------------------
 *
 * router_run.c
 *		A plan, run on rows that are not in its table.
 *
 * The plan selects from a table under its policies.  Its scan of the table is
 * given a row by EvalPlanQual (executor/execMain.c), all else in it is run as
 * it stands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_ask.h"
#include "router/router_audience.h"

#include "access/tupconvert.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "parser/parsetree.h"
#include "tcop/dest.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"

/* Where in a plan a row is put. */
typedef struct AskTarget
{
	Relation root; /* the table */
	Relation rel;  /* it, or the partition */
	Index entry;   /* of the range table */
	List *range_table;
	bool is_tree;			 /* the table is partitioned */
	List *leaves;			 /* entries of its partitions */
	Oid leaf;				 /* at which it is aimed */
	TupleConversionMap *map; /* from the table's layout; NULL: the same */
} AskTarget;

static void find_target(AskTarget *target, const PlannedStmt *statement,
						Relation rel);
static bool aim_at_leaf(AskTarget *target, EState *estate, Oid leaf);

/*
 * Put each row into the plan in place of the table's.
 */
void
plinth_router_run_plan(Relation rel, CachedPlan *plan, RouterInquiry *inquiry)
{
	PlannedStmt *statement = linitial_node(PlannedStmt, plan->stmt_list);
	QueryDesc *query;
	AskTarget target = {0};
	EPQState epq;
	bool begun = false;

	find_target(&target, statement, rel);
	query = CreateQueryDesc(statement, "SELECT", GetActiveSnapshot(),
							InvalidSnapshot, None_Receiver, NULL, NULL, 0);
	ExecutorStart(query, 0); /* this asks for rights on table and columns */

	plinth_epq_init(&epq, query->estate, statement->planTree, target.leaves);
	for (int i = 0; i < inquiry->count; i++)
	{
		RouterQuestion *question = &inquiry->questions[i];
		HeapTuple tuple = question->tuple;
		TupleTableSlot *slot;
		TupleTableSlot *seen;

		CHECK_FOR_INTERRUPTS();
		plinth_router_extend_limit();
		question->visible = false;
		if (target.is_tree)
		{
			/* a partition that the plan leaves out has no row to be seen */
			if (!aim_at_leaf(&target, query->estate, tuple->t_tableOid))
				continue;
			if (target.map != NULL)
				tuple = execute_attr_map_tuple(tuple, target.map);
		}
		slot = EvalPlanQualSlot(&epq, target.rel, target.entry);
		ExecForceStoreHeapTuple(tuple, slot, false);
		slot->tts_tableOid = question->tuple->t_tableOid;

		/*
		 * Not EvalPlanQual() for each row: from the second on that would copy
		 * the parent's values of sub-queries over those computed here.
		 */
		if (!begun)
			EvalPlanQualBegin(&epq);
		else
			ExecReScan(epq.recheckplanstate);
		begun = true;
		epq.relsubs_done[target.entry - 1] = false;
		seen = EvalPlanQualNext(&epq);
		question->visible = !TupIsNull(seen);
		epq.relsubs_done[target.entry - 1] = true;
		ResetPerTupleExprContext(epq.recheckestate);
	}
	EvalPlanQualEnd(&epq);

	ExecutorFinish(query);
	ExecutorEnd(query);
	FreeQueryDesc(query);
}

/*
 * Where in a plan the row is to go: to the table, which is named first in the
 * range table, or where it has partitions to the one that it is of, in whose
 * place the plan reads none of them.
 */
static void
find_target(AskTarget *target, const PlannedStmt *statement, Relation rel)
{
	Index number = 1;
	Bitmapset *tree;
	ListCell *lc;

	foreach (lc, statement->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == RelationGetRelid(rel))
			break;
		number++;
	}
	if (number > (Index) list_length(statement->rtable))
		elog(ERROR, "table %u is not in its plan", RelationGetRelid(rel));
	target->root = target->rel = rel;
	target->entry = number;
	target->range_table = statement->rtable;
	target->is_tree = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (!target->is_tree)
		return;

	/* a parent's entry comes before those of its partitions */
	tree = bms_make_singleton(number);
	foreach (lc, statement->appendRelations)
	{
		AppendRelInfo *append = lfirst_node(AppendRelInfo, lc);
		RangeTblEntry *child = rt_fetch(append->child_relid, statement->rtable);

		if (!bms_is_member(append->parent_relid, tree))
			continue;
		tree = bms_add_member(tree, append->child_relid);
		if (child->relkind != RELKIND_PARTITIONED_TABLE)
			target->leaves = lappend_int(target->leaves, append->child_relid);
	}
}

/*
 * Take the partition of a row for the target; false when the plan does not
 * read it.
 */
static bool
aim_at_leaf(AskTarget *target, EState *estate, Oid leaf)
{
	ListCell *lc;

	if (target->leaf == leaf)
		return target->entry != 0;

	target->leaf = leaf;
	target->entry = 0;
	foreach (lc, target->leaves)
	{
		Index entry = lfirst_int(lc);

		if (rt_fetch(entry, target->range_table)->relid == leaf)
		{
			target->entry = entry;
			target->rel = plinth_range_table_relation(estate, entry);
			target->map = convert_tuples_by_name(RelationGetDescr(target->root),
												 RelationGetDescr(target->rel));
			return true;
		}
	}
	return false;
}
