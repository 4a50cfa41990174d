/*-------------------------------------------------------------------------
 *
 * leaderboard_refresh.c
 *		Materialized leaderboards, refreshed when their sources have changed.
 *
 * Each installed instance of the module social has a materialized view that
 * is refreshed by its function refresh_leaderboard().  This file decides when.
 *
 * Whether a view is dirty costs writers nothing: the server counts the rows
 * that are inserted, updated and deleted in every table, and sums up what
 * each transaction did when it is over.  The counters of the tables that the
 * view is made from, with the tables' file numbers (a TRUNCATE changes those
 * and not the counters), make a fingerprint.  It is taken before a refresh
 * begins; as long as it stays the same, nothing has changed that the refresh
 * did not see.  A transaction whose counters arrive late makes the view dirty
 * late, or once too often, but not never.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "leaderboard/leaderboard_internal.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/worker.h"

/* Between two looks at the counters, where the interval is not shorter. */
#define LEADERBOARD_LOOK_MS 10000

/* A refresh that waits longer for the view's lock is given up. */
#define LEADERBOARD_LOCK_TIMEOUT "10s"

typedef struct LeaderboardLook
{
	int count;
	Leaderboard *boards; /* in the context of the step */
	MemoryContext context;
} LeaderboardLook;

typedef struct LeaderboardRefresh
{
	const Leaderboard *board;
	bool done; /* false: another session is at it */
	int64 rows;
} LeaderboardRefresh;

static int refresh_interval = 3600; /* seconds; 0: never */

/* When this worker looked last, of the clock; -1: not yet. */
static int64 last_look_ms = -1;

static int64 interval_ms(void);
static long look_interval_ms(void);
static void look_at_boards(void *arg);
static void use_safe_path(void);
static void attempt_refresh(const Leaderboard *board);
static void refresh_board(void *arg);

/*
 * The installed instances that have their view, and its fingerprint: over
 * every table that the view is made from, through other views and down to
 * partitions.  The counters of a transaction are summed up by the server.
 */
static const char look_query[] =
	"WITH RECURSIVE board AS ("
	" SELECT m.schema, c.oid"
	" FROM plinth.installed_modules m"
	" JOIN pg_catalog.pg_namespace n ON n.nspname::text = m.schema"
	" JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid"
	" AND c.relname = '" LEADERBOARD_VIEW "' AND c.relkind = 'm'"
	" WHERE m.module = 'social'"
	"), source (board, oid) AS ("
	" SELECT b.oid, b.oid FROM board b"
	" UNION"
	" SELECT s.board, t.oid FROM source s, LATERAL ("
	" SELECT d.refobjid AS oid"
	" FROM pg_catalog.pg_rewrite r"
	" JOIN pg_catalog.pg_depend d"
	" ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid"
	" AND d.refclassid = 'pg_catalog.pg_class'::regclass"
	" AND d.refobjid <> r.ev_class"
	" WHERE r.ev_class = s.oid"
	" UNION ALL"
	" SELECT i.inhrelid FROM pg_catalog.pg_inherits i"
	" WHERE i.inhparent = s.oid) t"
	")"
	" SELECT b.schema, ("
	" SELECT pg_catalog.hashtextextended(pg_catalog.string_agg("
	" pg_catalog.concat_ws(' ', c.oid, c.relfilenode,"
	" pg_catalog.pg_stat_get_tuples_inserted(c.oid),"
	" pg_catalog.pg_stat_get_tuples_updated(c.oid),"
	" pg_catalog.pg_stat_get_tuples_deleted(c.oid)),"
	" ',' ORDER BY c.oid), 0)"
	" FROM source s JOIN pg_catalog.pg_class c ON c.oid = s.oid"
	" WHERE s.board = b.oid AND s.oid <> b.oid) AS fingerprint"
	" FROM board b ORDER BY b.schema";

/*
 * Define plinth.leaderboard_*.  Called once, from _PG_init().
 */
void
plinth_leaderboard_define_settings(void)
{
	DefineCustomIntVariable(
		"plinth.leaderboard_refresh_interval",
		"Sets the least time between two refreshes of a leaderboard.",
		"A leaderboard is refreshed when its sources have changed.  Zero "
		"leaves it to refresh_leaderboard().",
		&refresh_interval, 3600, 0, 30 * 24 * 60 * 60, PGC_SIGHUP, GUC_UNIT_S,
		NULL, NULL, NULL);
}

/*
 * See leaderboard.h.
 */
long
plinth_leaderboard_step(void)
{
	LeaderboardLook look = {0};
	int64 elapsed_ms = plinth_leaderboard_clock_ms() - last_look_ms;

	if (!plinth_leaderboard_available() || refresh_interval == 0)
		return LEADERBOARD_LOOK_MS;
	if (last_look_ms >= 0 && elapsed_ms < look_interval_ms())
		return look_interval_ms() - elapsed_ms;

	look.context = AllocSetContextCreate(
		TopMemoryContext, "plinth leaderboard step", ALLOCSET_SMALL_SIZES);
	plinth_worker_transaction("looking at leaderboards", look_at_boards, &look);
	last_look_ms = plinth_leaderboard_clock_ms();
	plinth_leaderboard_forget_missing(look.boards, look.count);

	for (int i = 0; i < look.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (plinth_leaderboard_due(&look.boards[i], interval_ms()))
			attempt_refresh(&look.boards[i]);
	}

	MemoryContextDelete(look.context);

	return look_interval_ms();
}

static int64
interval_ms(void)
{
	return refresh_interval * INT64CONST(1000);
}

/*
 * Often enough that a short interval is kept.
 */
static long
look_interval_ms(void)
{
	return Min(interval_ms(), LEADERBOARD_LOOK_MS);
}

/*
 * Find the leaderboards of this database.  Runs in a transaction, with SPI.
 */
static void
look_at_boards(void *arg)
{
	LeaderboardLook *look = arg;
	int result;

	if (last_look_ms < 0)
		plinth_leaderboard_forget_dropped();

	use_safe_path();
	result = SPI_execute(look_query, true, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not look at leaderboards: %s",
			 SPI_result_code_string(result));

	look->boards = MemoryContextAllocZero(
		look->context, Max(SPI_processed, 1) * sizeof(Leaderboard));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		TupleDesc descriptor = SPI_tuptable->tupdesc;
		Leaderboard *board = &look->boards[i];
		bool isnull;

		namestrcpy(&board->schema, SPI_getvalue(tuple, descriptor, 1));
		board->fingerprint =
			(uint64) DatumGetInt64(SPI_getbinval(tuple, descriptor, 2, &isnull));
		board->countable = pgstat_track_counts && !isnull;
	}
	look->count = (int) SPI_processed;
}

/*
 * Let no object of another schema stand in for a catalog's, until the
 * transaction ends.
 */
static void
use_safe_path(void)
{
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Refresh one leaderboard in a transaction of its own.  An error ends that
 * transaction and is logged; what ends the process is not an error.  Where
 * another session is at it nothing is known yet: the next look decides.
 */
static void
attempt_refresh(const Leaderboard *board)
{
	MemoryContext context = CurrentMemoryContext;
	LeaderboardRefresh refresh = {.board = board};
	instr_time duration;
	instr_time started;

	INSTR_TIME_SET_CURRENT(started);
	PG_TRY();
	{
		plinth_worker_transaction("refreshing a leaderboard", refresh_board,
								  &refresh);
		INSTR_TIME_SET_CURRENT(duration);
		INSTR_TIME_SUBTRACT(duration, started);
		if (refresh.done)
			plinth_leaderboard_note_success(board, refresh.rows,
											INSTR_TIME_GET_MILLISEC(duration));
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
		pgstat_report_activity(STATE_IDLE, NULL);

		plinth_leaderboard_note_failure(board, error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
}

/*
 * Call the instance's own function as plinth_owner, who owns it and the view,
 * so that no code that others wrote runs as superuser.  Runs in a
 * transaction, with SPI; an error restores the user.
 */
static void
refresh_board(void *arg)
{
	LeaderboardRefresh *refresh = arg;
	const char *schema = quote_identifier(NameStr(refresh->board->schema));
	Oid saved_user;
	int saved_context;
	bool isnull;

	use_safe_path();
	(void) set_config_option("lock_timeout", LEADERBOARD_LOCK_TIMEOUT,
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	GetUserIdAndSecContext(&saved_user, &saved_context);
	/* not SECURITY_RESTRICTED_OPERATION: the refresh needs a temporary table */
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   saved_context | SECURITY_LOCAL_USERID_CHANGE);

	if (SPI_execute(psprintf("SELECT %s.refresh_leaderboard()", schema), false,
					0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not call refresh_leaderboard() of schema \"%s\"",
			 NameStr(refresh->board->schema));
	refresh->done = DatumGetBool(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull)
		refresh->done = false;

	if (refresh->done)
	{
		/* not read-only: with a snapshot that sees what was just done */
		if (SPI_execute(
				psprintf("SELECT pg_catalog.count(*) FROM %s." LEADERBOARD_VIEW,
						 schema),
				false, 0) != SPI_OK_SELECT ||
			SPI_processed != 1)
			elog(ERROR, "could not count the leaderboard of schema \"%s\"",
				 NameStr(refresh->board->schema));
		refresh->rows = DatumGetInt64(SPI_getbinval(
			SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}

	SetUserIdAndSecContext(saved_user, saved_context);
}
