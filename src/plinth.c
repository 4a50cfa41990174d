/*-------------------------------------------------------------------------
 *
 * plinth.c
 *		Wires the rooms together: settings, shared memory, hooks, workers.
 *
 * Everything that happens once when the library is loaded happens here, in
 * the order in which the rooms stand on each other.  The rooms do the work;
 * this file only calls them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "tcop/utility.h"
#include "utils/guc.h"

#include "account/account.h"
#include "audit/audit.h"
#include "base/compat.h"
#include "claims/claims.h"
#include "delivery/delivery.h"
#include "leaderboard/leaderboard.h"
#include "limiter/limiter.h"
#include "module/module.h"
#include "presence/presence.h"
#include "router/router.h"
#include "secrets/secrets.h"
#include "worker/worker.h"

PLINTH_MODULE_MAGIC;

/* What a room asks of the server; a NULL member means nothing. */
typedef struct PlinthRoom
{
	const char *name;
	void (*define_settings)(void);
	void (*shmem_request)(void);
	void (*shmem_startup)(void); /* holds AddinShmemInitLock */
} PlinthRoom;

/* In dependency order. */
static const PlinthRoom rooms[] = {
	{.name = "secrets",
	 .define_settings = plinth_secrets_define_settings,
	 .shmem_request = plinth_secrets_shmem_request,
	 .shmem_startup = plinth_secrets_shmem_startup},
	{.name = "claims", .define_settings = plinth_claims_define_settings},
	{.name = "account",
	 .define_settings = plinth_account_define_settings,
	 .shmem_request = plinth_account_shmem_request,
	 .shmem_startup = plinth_account_shmem_startup},
	{.name = "limiter",
	 .define_settings = plinth_limiter_define_settings,
	 .shmem_request = plinth_limiter_shmem_request,
	 .shmem_startup = plinth_limiter_shmem_startup},
	{.name = "audit", .define_settings = plinth_audit_define_settings},
	{.name = "presence",
	 .define_settings = plinth_presence_define_settings,
	 .shmem_request = plinth_presence_shmem_request,
	 .shmem_startup = plinth_presence_shmem_startup},
	{.name = "router",
	 .define_settings = plinth_router_define_settings,
	 .shmem_request = plinth_router_shmem_request,
	 .shmem_startup = plinth_router_shmem_startup},
	{.name = "delivery",
	 .define_settings = plinth_delivery_define_settings,
	 .shmem_request = plinth_delivery_shmem_request,
	 .shmem_startup = plinth_delivery_shmem_startup},
	{.name = "leaderboard",
	 .define_settings = plinth_leaderboard_define_settings,
	 .shmem_request = plinth_leaderboard_shmem_request,
	 .shmem_startup = plinth_leaderboard_shmem_startup},
	{.name = "worker",
	 .define_settings = plinth_worker_define_settings,
	 .shmem_request = plinth_worker_shmem_request,
	 .shmem_startup = plinth_worker_shmem_startup},
	{.name = "stream",
	 .shmem_request = plinth_worker_stream_shmem_request,
	 .shmem_startup = plinth_worker_stream_shmem_startup},
	{.name = "rotation",
	 .shmem_request = plinth_worker_rotation_shmem_request,
	 .shmem_startup = plinth_worker_rotation_shmem_startup},
	{.name = NULL},
};

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;
static ProcessUtility_hook_type previous_process_utility = NULL;
static object_access_hook_type previous_object_access = NULL;

void _PG_init(void);
static void request_shared_memory(void);
static void start_shared_memory(void);
static void process_utility(PlannedStmt *plan, const char *text,
							bool read_only_tree, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *environment,
							DestReceiver *receiver, QueryCompletion *completion);
static void run_utility(PlannedStmt *plan, const char *text,
						bool read_only_tree, ProcessUtilityContext context,
						ParamListInfo params, QueryEnvironment *environment,
						DestReceiver *receiver, QueryCompletion *completion);
static void see_object_access(ObjectAccessType access, Oid class_oid,
							  Oid object_oid, int sub_id, void *arg);
static void end_transaction(XactEvent event, void *arg);
static void wake_upkeep(Oid database);
static void wake_stream(Oid database);
static void limit_caller(const char *endpoint);

/*
 * Load the library: settings always, shared memory and workers only when it
 * is preloaded.  Functions that need what is missing then say so themselves.
 */
void
_PG_init(void)
{
	for (const PlinthRoom *room = rooms; room->name != NULL; room++)
		if (room->define_settings != NULL)
			room->define_settings();
	MarkGUCPrefixReserved("plinth");

	if (!process_shared_preload_libraries_in_progress)
		return;

	plinth_account_journal_wake = wake_upkeep;
	plinth_presence_wake = wake_stream;
	plinth_claims_user_changed = plinth_presence_identity_changed;
	plinth_delivery_wake = wake_stream;
	plinth_delivery_limit = limit_caller;

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_object_access = object_access_hook;
	object_access_hook = see_object_access;
	RegisterXactCallback(end_transaction, NULL);

	if (!IsBinaryUpgrade)
		plinth_worker_register_launcher();
}

/*
 * Ask for every room's memory and locks.
 */
static void
request_shared_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();

	for (const PlinthRoom *room = rooms; room->name != NULL; room++)
		if (room->shmem_request != NULL)
			room->shmem_request();
}

/*
 * Create every room's memory, or attach to it.
 */
static void
start_shared_memory(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (const PlinthRoom *room = rooms; room->name != NULL; room++)
		if (room->shmem_startup != NULL)
			room->shmem_startup();
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Make way for a statement, run it, and see what has come of it.
 */
static void
process_utility(PlannedStmt *plan, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *receiver,
				QueryCompletion *completion)
{
	Oid held = plinth_worker_before_utility(plan->utilityStmt);

	if (!OidIsValid(held))
		run_utility(plan, text, read_only_tree, context, params, environment,
					receiver, completion);
	else
	{
		PG_TRY();
		{
			run_utility(plan, text, read_only_tree, context, params,
						environment, receiver, completion);
		}
		PG_CATCH();
		{
			plinth_worker_release(held);
			PG_RE_THROW();
		}
		PG_END_TRY();
		plinth_worker_release(held);
	}

	plinth_worker_after_utility(plan->utilityStmt);
	if (OidIsValid(held) && IsA(plan->utilityStmt, DropdbStmt))
		plinth_account_journal_forget(held);
	if (plinth_router_is_publishing(plan->utilityStmt) &&
		plinth_module_identity_matches())
		plinth_router_check_publication();
}

static void
run_utility(PlannedStmt *plan, const char *text, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *environment, DestReceiver *receiver,
			QueryCompletion *completion)
{
	if (previous_process_utility)
		previous_process_utility(plan, text, read_only_tree, context, params,
								 environment, receiver, completion);
	else
		standard_ProcessUtility(plan, text, read_only_tree, context, params,
								environment, receiver, completion);
}

/*
 * Extensions are dropped in more ways than by their name.
 */
static void
see_object_access(ObjectAccessType access, Oid class_oid, Oid object_oid,
				  int sub_id, void *arg)
{
	if (previous_object_access)
		previous_object_access(access, class_oid, object_oid, sub_id, arg);

	if (access == OAT_DROP && class_oid == ExtensionRelationId)
		plinth_worker_extension_dropped(object_oid);
}

static void
end_transaction(XactEvent event, void *arg)
{
	plinth_worker_at_transaction_end(event);
}

/*
 * The security journal has something for the database's upkeep worker.
 */
static void
wake_upkeep(Oid database)
{
	plinth_worker_wake(WORKER_UPKEEP, database);
}

/*
 * A topic has something for the database's stream worker.
 */
static void
wake_stream(Oid database)
{
	plinth_worker_wake(WORKER_STREAM, database);
}

/*
 * Count a request of the caller to an endpoint, under the tier of its claims.
 */
static void
limit_caller(const char *endpoint)
{
	plinth_limiter_require_endpoint(endpoint);
}
