/*-------------------------------------------------------------------------
 *
 * router_guard.c
 *		Running what others have written, in the stream worker.
 *
 * The time limit is the server's own statement timeout: a cancel of this
 * process that the next check for interrupts raises.  A function may catch
 * that and go on; so at ten times the limit the process ends, which nothing
 * catches, and on its way out parks the table whose policies were run, so
 * that the next worker does not fall into them again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_audience.h"
#include "router/router_internal.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* The second stage comes at so many times the limit. */
#define GUARD_LAST_STAGE 10

static bool registered = false;
static TimeoutId last_stage;
static TimestampTz started_at;
static Oid running_table = InvalidOid;
static volatile sig_atomic_t gave_up = false;

static void register_last_stage(void);
static void on_last_stage(void);
static void on_guard_exit(int code, Datum arg);

bool
plinth_router_guarded(void (*step)(void *arg), void *arg, char **problem)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool went_well = true;

	*problem = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		plinth_router_start_limit();
		step(arg);
		plinth_router_stop_limit();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		plinth_router_stop_limit();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		*problem = plinth_router_describe_error(error);
		went_well = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	return went_well;
}

void
plinth_router_start_limit(void)
{
	if (!registered)
		register_last_stage();
	started_at = GetCurrentTimestamp();
	enable_timeout_after(STATEMENT_TIMEOUT, plinth_router_policy_timeout);
	enable_timeout_after(last_stage,
						 plinth_router_policy_timeout * GUARD_LAST_STAGE);
}

/*
 * Setting a timer costs about as much as judging a simple row, so that it is
 * set anew only when an eighth of the limit is used up.
 */
void
plinth_router_extend_limit(void)
{
	if (GetCurrentTimestamp() - started_at >
		plinth_router_policy_timeout * INT64CONST(1000) / 8)
	{
		plinth_router_stop_limit();
		plinth_router_start_limit();
	}
}

/*
 * A cancel that came too late to be raised is not to hit what follows.
 */
void
plinth_router_stop_limit(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	disable_timeout(last_stage, false);
	QueryCancelPending = false;
}

void
plinth_router_guard_table(Oid relid)
{
	running_table = relid;
}

char *
plinth_router_describe_error(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return psprintf("ran longer than %d ms", plinth_router_policy_timeout);
	return psprintf("%s", error->message);
}

static void
register_last_stage(void)
{
	last_stage = RegisterTimeout(USER_TIMEOUT, on_last_stage);
	before_shmem_exit(on_guard_exit, (Datum) 0);
	registered = true;
}

/*
 * Signal handler: end this process as an administrator's command does.
 */
static void
on_last_stage(void)
{
	gave_up = true;
	(void) raise(SIGTERM);
}

static void
on_guard_exit(int code, Datum arg)
{
	if (gave_up && OidIsValid(running_table))
		plinth_router_park(running_table);
}
