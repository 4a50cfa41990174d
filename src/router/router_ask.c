/*-------------------------------------------------------------------------
 *
 * router_ask.c
 *		What only the database can answer: may this identity see this row?
 *
 * The plan of "SELECT FROM ONLY the table" (of a partitioned one: from all of
 * its partitions) is made as the role, so that it
 * has the policies in it as the server itself combines them, and is run with
 * the decoded row in place of the table's rows.  That is what the server does
 * when it looks again at a row that was changed under an UPDATE, and its
 * EvalPlanQual is used for it (executor/execMain.c).
 *
 * A policy may run anybody's functions.  So each identity is asked in a
 * subtransaction of its own that is always rolled back, read-only, as the
 * role and nobody else (a SET ROLE alone could be undone by a function), with
 * its verified claims, and under a time limit.
 *
 * A plan is shared by all identities of a role.  What the planner computes in
 * advance must therefore not depend on the claims: it plans without any, and
 * where a policy calls a function that is declared IMMUTABLE and not known to
 * be so, each identity has a plan of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_ask.h"
#include "router/router_audience.h"
#include "router/router_index.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/subtransaction.h"
#include "claims/claims.h"

/* Identities that may run out of time before the others are not asked. */
#define ASK_MAX_TIMEOUTS 20

/*
 * Settings of the worker's session.  A plan that reads an index alone cannot
 * be given a row, compiling one costs more than the limit, and a database's
 * setting must not switch policies into errors.
 */
static const struct
{
	const char *name;
	const char *value;
} session_settings[] = {
	{"enable_indexonlyscan", "off"},
	{"jit", "off"},
	{"row_security", "on"},
};

typedef struct AskKey
{
	Oid role;
	Oid relid;
} AskKey;

typedef struct AskPlan
{
	AskKey key; /* hash key - MUST BE FIRST */
	SPIPlanPtr plan;
	bool each_its_own; /* identities cannot share it */
} AskPlan;

/* What one identity's turn needs. */
typedef struct AskRun
{
	Relation rel;
	AskPlan *known;
	CachedPlan *shared;	 /* NULL: to be planned for the identity */
	ResourceOwner owner; /* of the shared plan */
	char *query;
} AskRun;

static HTAB *plans = NULL;
static MemoryContext ask_context = NULL; /* of one identity */

static int compare_inquiries(const void *left, const void *right);
static bool lock_table(Oid relid);
static void wait_for_table(void *relid);
static void ask_table(RouterInquiry **inquiries, int count);
static void become(Oid role);
static void find_plan(AskRun *run, Oid role);
static void plan_shared(void *arg);
static void ask_identity(AskRun *run, RouterInquiry *inquiry);
static void answer(AskRun *run, RouterInquiry *inquiry);
static void note_failure(RouterInquiry *inquiry);

void
plinth_router_ask_session(void)
{
	for (size_t i = 0; i < lengthof(session_settings); i++)
		SetConfigOption(session_settings[i].name, session_settings[i].value,
						PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Answer inquiries.
 */
void
plinth_router_ask(RouterInquiry **inquiries, int count)
{
	int start = 0;

	if (ask_context == NULL)
		ask_context = AllocSetContextCreate(
			TopMemoryContext, "plinth router ask", ALLOCSET_DEFAULT_SIZES);
	qsort(inquiries, count, sizeof(RouterInquiry *), compare_inquiries);
	while (start < count)
	{
		int end = start + 1;

		while (end < count &&
			   compare_inquiries(&inquiries[start], &inquiries[end]) == 0)
			end++;
		if (lock_table(inquiries[start]->relid))
			ask_table(inquiries + start, end - start);
		else
			for (int i = start; i < end; i++)
				inquiries[i]->answer = ROUTER_BLOCKED;
		start = end;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Drop the plans of a table.
 */
void
plinth_router_forget_plans(Oid relid)
{
	HASH_SEQ_STATUS scan;
	AskPlan *known;

	if (plans == NULL)
		return;
	hash_seq_init(&scan, plans);
	while ((known = hash_seq_search(&scan)) != NULL)
		if (known->key.relid == relid)
		{
			if (known->plan != NULL)
				SPI_freeplan(known->plan);
			hash_search(plans, &known->key, HASH_REMOVE, NULL);
		}
}

/*
 * By table and role.
 */
static int
compare_inquiries(const void *left, const void *right)
{
	const RouterInquiry *a = *(RouterInquiry *const *) left;
	const RouterInquiry *b = *(RouterInquiry *const *) right;

	if (a->relid != b->relid)
		return a->relid < b->relid ? -1 : 1;
	if (a->identity->key.role != b->identity->key.role)
		return a->identity->key.role < b->identity->key.role ? -1 : 1;
	return 0;
}

/*
 * Lock a table for the rest of the turn, so that its policies and columns
 * stay as they are.  False: somebody else has it for longer than a policy may
 * run.
 */
static bool
lock_table(Oid relid)
{
	bool locked;

	if (ConditionalLockRelationOid(relid, AccessShareLock))
		return true;

	LockTimeout = plinth_router_policy_timeout;
	locked = plinth_try(wait_for_table, &relid) == NULL;
	LockTimeout = 0;

	return locked;
}

static void
wait_for_table(void *relid)
{
	LockRelationOid(*(Oid *) relid, AccessShareLock);
}

/*
 * Answer the inquiries of one role about one table.
 */
static void
ask_table(RouterInquiry **inquiries, int count)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	RouterInquiry *first = inquiries[0];

	plinth_router_guard_table(first->relid);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		AskRun run = {0};
		int timeouts = 0;

		run.rel = table_open(first->relid, NoLock);
		run.owner = CurrentResourceOwner;
		run.query = psprintf(
			"SELECT FROM %s %s",
			run.rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "ONLY",
			plinth_router_table_name(run.rel));
		become(first->identity->key.role);
		find_plan(&run, first->identity->key.role);

		for (int i = 0; i < count; i++)
		{
			if (timeouts >= ASK_MAX_TIMEOUTS)
			{
				inquiries[i]->answer = ROUTER_FAILED;
				inquiries[i]->problem = "its policies run too long";
				continue;
			}
			ask_identity(&run, inquiries[i]);
			if (inquiries[i]->answer == ROUTER_FAILED &&
				inquiries[i]->us >=
					plinth_router_policy_timeout * INT64CONST(1000))
				timeouts++;

			/* the others would wait for that lock too */
			if (inquiries[i]->answer == ROUTER_BLOCKED)
				while (++i < count)
					inquiries[i]->answer = ROUTER_BLOCKED;
		}

		plinth_router_stop_limit();
		if (run.shared != NULL)
			ReleaseCachedPlan(run.shared, run.owner);
		table_close(run.rel, NoLock);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		RouterInquiry failed = {0};

		plinth_router_stop_limit();
		MemoryContextSwitchTo(context);
		note_failure(&failed);
		RollbackAndReleaseCurrentSubTransaction();
		for (int i = 0; i < count; i++)
			if (inquiries[i]->answer == ROUTER_UNANSWERED)
			{
				inquiries[i]->answer = failed.answer;
				inquiries[i]->problem = failed.problem;
			}
	}
	PG_END_TRY();
	plinth_router_guard_table(InvalidOid);
	LockTimeout = 0;

	/* what a function may leave in the session that no rollback undoes */
	LockReleaseSession(USER_LOCKMETHOD);
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/*
 * Be the role until the subtransaction is rolled back, read-only, and unable
 * to become anybody else.
 */
static void
become(Oid role)
{
	Oid user;
	int context;

	(void) set_config_option("role", GetUserNameFromId(role, false), PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	XactReadOnly = true;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(role, context | SECURITY_LOCAL_USERID_CHANGE |
									 SECURITY_RESTRICTED_OPERATION);

	/* so that waiting for a lock is told from running too long */
	LockTimeout = Max(plinth_router_policy_timeout / 2, 1);
}

/*
 * The role's plan for a table, ready to be shared, or the knowledge that it
 * cannot be.
 */
static void
find_plan(AskRun *run, Oid role)
{
	AskKey key = {.role = role, .relid = RelationGetRelid(run->rel)};
	AskPlan *known;
	CachedPlanSource *source;
	bool found;

	if (plans == NULL)
	{
		HASHCTL info = {.keysize = sizeof(AskKey), .entrysize = sizeof(AskPlan)};

		plans = hash_create("plinth router plans", 64, &info,
							HASH_ELEM | HASH_BLOBS);
	}
	known = hash_search(plans, &key, HASH_ENTER, &found);
	if (!found)
	{
		known->plan = NULL;
		known->each_its_own = false;
	}

	plinth_router_start_limit();
	if (known->plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(run->query, 0, NULL);

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", run->query,
				 SPI_result_code_string(SPI_result));
		source = linitial(SPI_plan_get_plan_sources(plan));
		known->each_its_own =
			plinth_router_trusts_immutable((Node *) source->query_list);
		SPI_keepplan(plan);
		known->plan = plan;
	}
	plinth_router_stop_limit();

	run->known = known;
	if (!known->each_its_own)
	{
		char *problem;

		/* planning may run a function that wants to know who asks */
		if (!plinth_router_guarded(plan_shared, run, &problem))
			run->shared = NULL;
		else if (known->each_its_own)
		{
			ReleaseCachedPlan(run->shared, run->owner);
			run->shared = NULL;
		}
	}
}

/*
 * The plan for all identities of the role.
 */
static void
plan_shared(void *arg)
{
	AskRun *run = arg;
	CachedPlanSource *source =
		linitial(SPI_plan_get_plan_sources(run->known->plan));
	bool planned = source->gplan != NULL && source->gplan->is_valid;

	run->shared = GetCachedPlan(source, NULL, run->owner, NULL);

	/* the policies may have changed since they were looked at */
	if (!planned)
		run->known->each_its_own =
			plinth_router_trusts_immutable((Node *) source->query_list);
}

/*
 * Answer one inquiry, or note why not.
 */
static void
ask_identity(AskRun *run, RouterInquiry *inquiry)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	instr_time start;
	instr_time end;

	INSTR_TIME_SET_CURRENT(start);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(ask_context);
	PG_TRY();
	{
		if (inquiry->identity->claims != NULL)
		{
			plinth_claims_set_verified(inquiry->identity->claims, true);
			if (inquiry->identity->key.stated)
				(void) set_config_option(PLINTH_CLAIMS_SETTING,
										 inquiry->identity->claims, PGC_USERSET,
										 PGC_S_SESSION, GUC_ACTION_LOCAL, true,
										 0, false);
		}
		plinth_router_start_limit();
		answer(run, inquiry);
		plinth_router_stop_limit();
		inquiry->answer = ROUTER_ANSWERED;
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		plinth_router_stop_limit();
		MemoryContextSwitchTo(context);
		note_failure(inquiry);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	MemoryContextReset(ask_context);

	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	inquiry->us = INSTR_TIME_GET_MICROSEC(end);
}

/*
 * Run the shared plan, or one of the identity's own.
 */
static void
answer(AskRun *run, RouterInquiry *inquiry)
{
	SPIPlanPtr own;
	CachedPlan *plan;

	if (run->shared != NULL)
	{
		plinth_router_run_plan(run->rel, run->shared, inquiry);
		return;
	}

	own = SPI_prepare(run->query, 0, NULL);
	if (own == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", run->query,
			 SPI_result_code_string(SPI_result));
	plan = GetCachedPlan(linitial(SPI_plan_get_plan_sources(own)), NULL, NULL,
						 NULL);
	plinth_router_run_plan(run->rel, plan, inquiry);
	ReleaseCachedPlan(plan, NULL);
	SPI_freeplan(own);
}

/*
 * Take down the error that is being handled.  Who waits for a lock is not to
 * blame for it.
 */
static void
note_failure(RouterInquiry *inquiry)
{
	ErrorData *error = CopyErrorData();

	FlushErrorState();
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		inquiry->answer = ROUTER_BLOCKED;
	else
	{
		inquiry->answer = ROUTER_FAILED;
		inquiry->problem = plinth_router_describe_error(error);
	}
}
