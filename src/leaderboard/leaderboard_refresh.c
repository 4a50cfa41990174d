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
 * What is known of each view is in shared memory, for the statistics view
 * and for the next worker.  Locking: leaderboard->lock guards every slot.  A
 * slot in use belongs to one database, and is written only by the upkeep
 * worker of that database.  The lock is not held while SQL runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "leaderboard/leaderboard.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/worker.h"

#define LEADERBOARD_TRANCHE "plinth_leaderboard"

/* Leaderboards of the whole server; the rest is left to the schedule. */
#define LEADERBOARD_SLOTS 1024
#define LEADERBOARD_ERROR_SIZE 128

/* Between two looks at the counters, and the first pause after a failure. */
#define LEADERBOARD_LOOK_MS 10000
#define LEADERBOARD_RETRY_MS 5000
#define LEADERBOARD_MAX_RETRY_MS (60 * 60 * 1000)

/* A refresh that waits longer for the view's lock is given up. */
#define LEADERBOARD_LOCK_TIMEOUT "10s"

#define LEADERBOARD_VIEW "leaderboard_all_time"

typedef struct LeaderboardSlot
{
	Oid database;		/* InvalidOid: the slot is free */
	NameData schema;	/* of the instance */
	bool known;			/* fingerprint is that of the last refresh */
	uint64 fingerprint; /* taken before the last refresh began */
	bool dirty;			/* at the last look */
	int64 ended_ms;		/* clock_ms() when the last attempt ended */
	int failed_since;	/* failures since the last success */
	TimestampTz last_refresh;
	double duration_ms; /* of the last refresh */
	int64 rows;			/* of the view after it */
	int64 refreshes;
	int64 failures;
	char last_error[LEADERBOARD_ERROR_SIZE]; /* empty when there was none */
} LeaderboardSlot;

typedef struct LeaderboardShared
{
	LWLock *lock;
	TimestampTz stats_reset;
	LeaderboardSlot slots[LEADERBOARD_SLOTS];
} LeaderboardShared;

/* One leaderboard of this database, as a look finds it. */
typedef struct Leaderboard
{
	NameData schema;
	bool countable; /* the counters tell whether it is dirty */
	uint64 fingerprint;
} Leaderboard;

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

/* Link to shared memory; NULL when the library was not preloaded. */
static LeaderboardShared *leaderboard = NULL;

/* clock_ms() of this worker's last look; -1: none yet */
static int64 last_look_ms = -1;

static long look_interval_ms(void);
static int64 clock_ms(void);
static void look_at_boards(void *arg);
static void use_safe_path(void);
static LeaderboardSlot *find_slot(const char *schema);
static LeaderboardSlot *take_slot(const char *schema);
static void forget_dropped(void);
static void forget_missing(const LeaderboardLook *look);
static bool is_due(const Leaderboard *board);
static void attempt_refresh(const Leaderboard *board);
static void refresh_board(void *arg);
static void note_success(const LeaderboardRefresh *refresh, double duration_ms);
static void note_failure(const Leaderboard *board, const char *message);

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
 * Ask for the memory and the lock.
 */
void
plinth_leaderboard_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(LeaderboardShared)));
	RequestNamedLWLockTranche(LEADERBOARD_TRANCHE, 1);
}

/*
 * Create the slots, or attach to them.  The caller holds AddinShmemInitLock.
 */
void
plinth_leaderboard_shmem_startup(void)
{
	bool found;

	Assert(LWLockHeldByMeInMode(AddinShmemInitLock, LW_EXCLUSIVE));

	leaderboard =
		ShmemInitStruct("plinth leaderboard", sizeof(LeaderboardShared), &found);
	if (!found)
	{
		memset(leaderboard, 0, sizeof(LeaderboardShared));
		leaderboard->lock = &(GetNamedLWLockTranche(LEADERBOARD_TRANCHE))->lock;
		leaderboard->stats_reset = GetCurrentTimestamp();
	}
}

/*
 * See leaderboard.h.
 */
long
plinth_leaderboard_step(void)
{
	LeaderboardLook look = {0};
	int64 elapsed_ms = clock_ms() - last_look_ms;

	if (leaderboard == NULL || refresh_interval == 0)
		return LEADERBOARD_LOOK_MS;
	if (last_look_ms >= 0 && elapsed_ms < look_interval_ms())
		return look_interval_ms() - elapsed_ms;

	look.context = AllocSetContextCreate(
		TopMemoryContext, "plinth leaderboard step", ALLOCSET_SMALL_SIZES);
	plinth_worker_transaction("looking at leaderboards", look_at_boards, &look);
	last_look_ms = clock_ms();
	forget_missing(&look);

	for (int i = 0; i < look.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_due(&look.boards[i]))
			attempt_refresh(&look.boards[i]);
	}

	MemoryContextDelete(look.context);

	return look_interval_ms();
}

/*
 * Often enough that a short interval is kept.
 */
static long
look_interval_ms(void)
{
	return Min(refresh_interval * INT64CONST(1000), LEADERBOARD_LOOK_MS);
}

/*
 * Milliseconds of a clock that nobody sets, the same one in all processes.
 */
static int64
clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);

	return (int64) INSTR_TIME_GET_MILLISEC(now);
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
		forget_dropped();

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
 * The slot of a leaderboard of this database, or NULL.  The caller holds the
 * lock.
 */
static LeaderboardSlot *
find_slot(const char *schema)
{
	for (int i = 0; i < LEADERBOARD_SLOTS; i++)
	{
		LeaderboardSlot *slot = &leaderboard->slots[i];

		if (slot->database == MyDatabaseId &&
			strcmp(NameStr(slot->schema), schema) == 0)
			return slot;
	}

	return NULL;
}

/*
 * The slot of a leaderboard, taken when there is none; NULL when all are in
 * use.  The caller holds the lock exclusively.
 */
static LeaderboardSlot *
take_slot(const char *schema)
{
	LeaderboardSlot *slot = find_slot(schema);

	for (int i = 0; slot == NULL && i < LEADERBOARD_SLOTS; i++)
		if (!OidIsValid(leaderboard->slots[i].database))
		{
			slot = &leaderboard->slots[i];
			memset(slot, 0, sizeof(LeaderboardSlot));
			slot->database = MyDatabaseId;
			namestrcpy(&slot->schema, schema);
			slot->dirty = true;
		}

	return slot;
}

/*
 * Free the slots of databases that are gone.  Runs in a transaction.
 */
static void
forget_dropped(void)
{
	Oid databases[LEADERBOARD_SLOTS];

	LWLockAcquire(leaderboard->lock, LW_SHARED);
	for (int i = 0; i < LEADERBOARD_SLOTS; i++)
		databases[i] = leaderboard->slots[i].database;
	LWLockRelease(leaderboard->lock);

	for (int i = 0; i < LEADERBOARD_SLOTS; i++)
	{
		if (!OidIsValid(databases[i]) || databases[i] == MyDatabaseId ||
			SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(databases[i])))
			continue;
		LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
		if (leaderboard->slots[i].database == databases[i])
			leaderboard->slots[i].database = InvalidOid;
		LWLockRelease(leaderboard->lock);
	}
}

/*
 * Free the slots of this database whose leaderboards are gone.
 */
static void
forget_missing(const LeaderboardLook *look)
{
	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LEADERBOARD_SLOTS; i++)
	{
		LeaderboardSlot *slot = &leaderboard->slots[i];
		bool found = false;

		if (slot->database != MyDatabaseId)
			continue;
		for (int j = 0; !found && j < look->count; j++)
			found = strcmp(NameStr(look->boards[j].schema),
						   NameStr(slot->schema)) == 0;
		if (!found)
			slot->database = InvalidOid;
	}
	LWLockRelease(leaderboard->lock);
}

/*
 * Note whether the leaderboard is dirty, and say whether to refresh it now.
 * After failures the pause grows from a few seconds to an hour.
 */
static bool
is_due(const Leaderboard *board)
{
	static bool full_reported = false;
	LeaderboardSlot *slot;
	bool due = false;

	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	slot = take_slot(NameStr(board->schema));
	if (slot != NULL)
	{
		int64 pause_ms =
			slot->refreshes > 0 ? refresh_interval * INT64CONST(1000) : 0;

		if (slot->failed_since > 0)
			pause_ms = Min(LEADERBOARD_RETRY_MS *
							   (INT64CONST(1) << Min(slot->failed_since - 1, 16)),
						   LEADERBOARD_MAX_RETRY_MS);
		slot->dirty = !board->countable || !slot->known ||
					  slot->fingerprint != board->fingerprint;
		due = slot->dirty && clock_ms() - slot->ended_ms >= pause_ms;
	}
	LWLockRelease(leaderboard->lock);

	if (slot == NULL && !full_reported)
	{
		full_reported = true;
		ereport(
			WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("leaderboard of schema \"%s\" is not refreshed",
					NameStr(board->schema)),
			 errdetail(
				 "The upkeep workers of this server keep at most %d leaderboards.",
				 LEADERBOARD_SLOTS),
			 errhint("Call its function refresh_leaderboard() on a schedule.")));
	}

	return due;
}

/*
 * Refresh one leaderboard in a transaction of its own.  An error ends that
 * transaction and is logged; what ends the process is not an error.
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
		note_success(&refresh, INSTR_TIME_GET_MILLISEC(duration));
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

		note_failure(board, error->message);
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

/*
 * Keep what a refresh did.  Where another session was at it nothing is known
 * yet, and the next look decides again.
 */
static void
note_success(const LeaderboardRefresh *refresh, double duration_ms)
{
	LeaderboardSlot *slot;

	if (!refresh->done)
		return;

	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	slot = find_slot(NameStr(refresh->board->schema));
	if (slot != NULL)
	{
		slot->known = refresh->board->countable;
		slot->fingerprint = refresh->board->fingerprint;
		slot->dirty = false;
		slot->ended_ms = clock_ms();
		slot->failed_since = 0;
		slot->last_refresh = GetCurrentTimestamp();
		slot->duration_ms = duration_ms;
		slot->rows = refresh->rows;
		slot->refreshes++;
	}
	LWLockRelease(leaderboard->lock);
}

/*
 * Count a failure and keep its message, cut where a character ends.
 */
static void
note_failure(const Leaderboard *board, const char *message)
{
	LeaderboardSlot *slot;
	int length =
		pg_mbcliplen(message, strlen(message), LEADERBOARD_ERROR_SIZE - 1);

	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	slot = find_slot(NameStr(board->schema));
	if (slot != NULL)
	{
		slot->ended_ms = clock_ms();
		slot->failed_since++;
		slot->failures++;
		memcpy(slot->last_error, message, length);
		slot->last_error[length] = '\0';
	}
	LWLockRelease(leaderboard->lock);
}

/*
 * plinth.leaderboard_stat() -> setof record
 *
 * One row for each leaderboard of this database that the upkeep worker keeps.
 *
 * Errors: 55000 the library is not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_leaderboard_stat);
Datum
plinth_sql_leaderboard_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LeaderboardSlot *slots;
	TimestampTz stats_reset;
	int count = 0;

	if (leaderboard == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("leaderboard statistics are not available"),
						errdetail("The library \"%s\" is not preloaded.",
								  PLINTH_LIBRARY),
						errhint(PLINTH_PREFLIGHT_HINT)));

	InitMaterializedSRF(fcinfo, 0);
	slots = palloc(LEADERBOARD_SLOTS * sizeof(LeaderboardSlot));

	LWLockAcquire(leaderboard->lock, LW_SHARED);
	stats_reset = leaderboard->stats_reset;
	for (int i = 0; i < LEADERBOARD_SLOTS; i++)
		if (leaderboard->slots[i].database == MyDatabaseId)
			slots[count++] = leaderboard->slots[i];
	LWLockRelease(leaderboard->lock);

	for (int i = 0; i < count; i++)
	{
		const LeaderboardSlot *slot = &slots[i];
		Datum values[10];
		bool nulls[10] = {false};

		values[0] = CStringGetTextDatum(NameStr(slot->schema));
		values[1] = CStringGetTextDatum(LEADERBOARD_VIEW);
		values[2] = BoolGetDatum(slot->dirty);
		values[3] = TimestampTzGetDatum(slot->last_refresh);
		values[4] = Float8GetDatum(slot->duration_ms);
		values[5] = Int64GetDatum(slot->rows);
		values[6] = Int64GetDatum(slot->refreshes);
		values[7] = Int64GetDatum(slot->failures);
		values[8] = CStringGetTextDatum(slot->last_error);
		values[9] = TimestampTzGetDatum(stats_reset);
		nulls[3] = nulls[4] = nulls[5] = slot->refreshes == 0;
		nulls[8] = slot->last_error[0] == '\0';
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}

	return (Datum) 0;
}
