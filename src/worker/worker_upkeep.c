/*-------------------------------------------------------------------------
 *
 * worker_upkeep.c
 *		The upkeep worker: what has to be done from time to time.
 *
 * Each step runs in a transaction of its own, and its error ends that
 * transaction alone: it is logged, counted, and the step comes again when it
 * is next due.  Every step can be repeated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "audit/audit.h"
#include "base/compat.h"
#include "base/names.h"
#include "base/worker.h"
#include "leaderboard/leaderboard.h"
#include "module/module.h"
#include "secrets/secrets.h"
#include "worker/worker_internal.h"
#include "worker/worker_rotation.h"
#include "worker/worker_stream.h"

/* The longest nap; a wake-up by latch ends it. */
#define UPKEEP_NAP_MS 10000
#define MINUTE_MS (60 * 1000)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

/* A function of a module that is called again and again. */
typedef struct UpkeepCall
{
	const char *schema;
	const char *function; /* without arguments, or with defaults for all */
	const char *query;
} UpkeepCall;

typedef struct UpkeepStep
{
	const char *activity; /* what pg_stat_activity shows meanwhile */
	int interval_ms;
	const int *interval_setting; /* in place of it, when not NULL */
	bool *more;					 /* set when work is left: it is due at once */
	void (*run)(void *arg);		 /* in a transaction, with SPI */
	const void *arg;
	TimestampTz done_at; /* 0: it is due at once */
} UpkeepStep;

static void upkeep_loop(void);
static void commit_journal(void);
static TimestampTz due_at(const UpkeepStep *step);
static void check_database(void *arg);
static void call_as_owner(void *arg);
static void check_keyring(void *arg);

static const UpkeepCall partitions = {"audit", "ensure_partitions",
									  "SELECT audit.ensure_partitions()"};
static const UpkeepCall expiry = {"auth", "purge_expired",
								  "SELECT auth.purge_expired()"};
static const UpkeepCall successors = {"auth", "empty_successors",
									  "SELECT auth.empty_successors()"};

static UpkeepStep steps[] = {
	{.activity = "comparing the keyring with the data",
	 .interval_ms = DAY_MS,
	 .run = check_keyring},
	{.activity = "making partitions of the audit log",
	 .interval_ms = DAY_MS,
	 .run = call_as_owner,
	 .arg = &partitions},
	{.activity = "removing expired sessions and tokens",
	 .interval_ms = HOUR_MS,
	 .run = call_as_owner,
	 .arg = &expiry},
	{.activity = "removing the successors of refresh tokens",
	 .interval_ms = MINUTE_MS,
	 .run = call_as_owner,
	 .arg = &successors},
	{.activity = "sealing the audit log",
	 .interval_setting = &plinth_audit_seal_interval,
	 .more = &plinth_audit_seal_more,
	 .run = plinth_audit_seal_step},
};

void
plinth_worker_upkeep_main(Datum main_arg)
{
	plinth_worker_main(WORKER_UPKEEP, main_arg, upkeep_loop);
}

static void
upkeep_loop(void)
{
	for (;;)
	{
		TimestampTz now;
		TimestampTz next;
		long leaderboard_ms;
		long rotation_ms;
		long guard_ms;

		plinth_worker_transaction("looking for work", check_database, NULL);
		commit_journal();

		for (int i = 0; i < (int) lengthof(steps); i++)
		{
			UpkeepStep *step = &steps[i];

			if (due_at(step) > GetCurrentTimestamp())
				continue;
			plinth_worker_set_state(WORKER_RUNNING);
			if (step->more != NULL)
				*step->more = false;
			(void) plinth_worker_attempt(step->activity, step->run,
										 unconstify(void *, step->arg));
			step->done_at = GetCurrentTimestamp();
			CHECK_FOR_INTERRUPTS();
			/* somebody waits for it */
			commit_journal();
		}
		rotation_ms = plinth_worker_rotation_step();
		leaderboard_ms = plinth_leaderboard_step();
		guard_ms = plinth_worker_stream_guard_look();
		plinth_worker_set_state(WORKER_IDLE);

		now = GetCurrentTimestamp();
		next = TimestampTzPlusMilliseconds(
			now,
			plinth_account_journal_due(Min(Min(UPKEEP_NAP_MS, guard_ms),
										   Min(leaderboard_ms, rotation_ms))));
		for (int i = 0; i < (int) lengthof(steps); i++)
			next = Min(next, due_at(&steps[i]));
		(void) plinth_worker_wait(TimestampDifferenceMilliseconds(now, next),
								  plinth_wait_event("PlinthUpkeepMain"));
	}
}

/*
 * Commit what the security journal has for this database, as far as it can
 * be committed now.
 */
static void
commit_journal(void)
{
	while (plinth_account_journal_due(1) == 0)
	{
		plinth_worker_set_state(WORKER_RUNNING);
		plinth_account_journal_committed(
			plinth_worker_attempt("committing the security journal",
								  plinth_account_journal_commit, NULL));
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * When a step is due next, by its interval as it is now.
 */
static TimestampTz
due_at(const UpkeepStep *step)
{
	int interval_ms = step->interval_setting != NULL ? *step->interval_setting
													 : step->interval_ms;

	if (step->done_at == 0 || (step->more != NULL && *step->more))
		return 0;

	return TimestampTzPlusMilliseconds(step->done_at, interval_ms);
}

/*
 * Is it still for us to work here?  And which modules have come since?
 */
static void
check_database(void *arg)
{
	static int known_modules = 0;
	int modules;

	plinth_worker_check();

	/* a module that has just been installed has its first turn at once */
	modules = list_length(plinth_module_instances());
	if (modules != known_modules)
		for (int i = 0; i < (int) lengthof(steps); i++)
			steps[i].done_at = 0;
	known_modules = modules;
}

/*
 * Call a function of a module as plinth_owner, if it is there.
 */
static void
call_as_owner(void *arg)
{
	const UpkeepCall *call = arg;
	List *name = list_make2(makeString(pstrdup(call->schema)),
							makeString(pstrdup(call->function)));
	Oid saved_user;
	int saved_context;

	if (!plinth_module_installed(call->schema) ||
		FuncnameGetCandidates(name, 0, NIL, false, true, false, true) == NULL)
		return;

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   saved_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute(call->query, false, 0) < 0)
		elog(ERROR, "could not call %s.%s()", call->schema, call->function);
	SetUserIdAndSecContext(saved_user, saved_context);
}

/*
 * Say so at the start when the keyring does not belong to the data.
 */
static void
check_keyring(void *arg)
{
	const char *problem = plinth_secrets_problem();

	if (problem != NULL)
		ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						  errmsg("the keyring does not belong to database \"%s\"",
								 get_database_name(MyDatabaseId)),
						  errdetail_internal("%s", problem),
						  errhint(PLINTH_PREFLIGHT_HINT)));
}
