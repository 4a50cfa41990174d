/*-------------------------------------------------------------------------
 *
 * leaderboard_slots.c
 *		What is known of each leaderboard, for all to see.
 *
 * It is in shared memory, for the statistics view and for the next worker.
 * Locking: leaderboard->lock guards every slot.  A slot in use belongs to one
 * database, and is written only by the upkeep worker of that database, or
 * freed by another one when the database is gone.  The lock is not held while
 * SQL runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "leaderboard/leaderboard_internal.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "claims/claims.h"

#define LEADERBOARD_TRANCHE "plinth_leaderboard"

/* Leaderboards of the whole server; the rest is left to the schedule. */
#define LEADERBOARD_SLOTS 1024
#define LEADERBOARD_ERROR_SIZE 128

/* The pause after a failure, and what it grows to. */
#define LEADERBOARD_RETRY_MS 5000
#define LEADERBOARD_MAX_RETRY_MS (60 * 60 * 1000)

typedef struct LeaderboardSlot
{
	Oid database;		/* InvalidOid: the slot is free */
	NameData schema;	/* of the instance */
	bool known;			/* fingerprint is that of the last refresh */
	uint64 fingerprint; /* taken before the last refresh began */
	bool dirty;			/* at the last look */
	int64 ended_ms;		/* of the clock, when the last attempt ended */
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

/* Link to shared memory; NULL when the library was not preloaded. */
static LeaderboardShared *leaderboard = NULL;

static LeaderboardSlot *find_slot(const char *schema);
static LeaderboardSlot *take_slot(const char *schema);

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

bool
plinth_leaderboard_available(void)
{
	return leaderboard != NULL;
}

void
plinth_leaderboard_forget_dropped(void)
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

void
plinth_leaderboard_forget_missing(const Leaderboard *boards, int count)
{
	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LEADERBOARD_SLOTS; i++)
	{
		LeaderboardSlot *slot = &leaderboard->slots[i];
		bool found = false;

		if (slot->database != MyDatabaseId)
			continue;
		for (int j = 0; !found && j < count; j++)
			found = strcmp(NameStr(boards[j].schema), NameStr(slot->schema)) == 0;
		if (!found)
			slot->database = InvalidOid;
	}
	LWLockRelease(leaderboard->lock);
}

bool
plinth_leaderboard_due(const Leaderboard *board, int64 interval_ms)
{
	static bool full_reported = false;
	LeaderboardSlot *slot;
	bool due = false;

	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	slot = take_slot(NameStr(board->schema));
	if (slot != NULL)
	{
		int64 pause_ms = slot->refreshes > 0 ? interval_ms : 0;

		if (slot->failed_since > 0)
			pause_ms = Min(LEADERBOARD_RETRY_MS *
							   (INT64CONST(1) << Min(slot->failed_since - 1, 16)),
						   LEADERBOARD_MAX_RETRY_MS);
		slot->dirty = !board->countable || !slot->known ||
					  slot->fingerprint != board->fingerprint;
		due = slot->dirty &&
			  plinth_leaderboard_clock_ms() - slot->ended_ms >= pause_ms;
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

void
plinth_leaderboard_note_success(const Leaderboard *board, int64 rows,
								double duration_ms)
{
	LeaderboardSlot *slot;

	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	slot = find_slot(NameStr(board->schema));
	if (slot != NULL)
	{
		slot->known = board->countable;
		slot->fingerprint = board->fingerprint;
		slot->dirty = false;
		slot->ended_ms = plinth_leaderboard_clock_ms();
		slot->failed_since = 0;
		slot->last_refresh = GetCurrentTimestamp();
		slot->duration_ms = duration_ms;
		slot->rows = rows;
		slot->refreshes++;
	}
	LWLockRelease(leaderboard->lock);
}

void
plinth_leaderboard_note_failure(const Leaderboard *board, const char *message)
{
	LeaderboardSlot *slot;
	/* cut where a character ends */
	int length =
		pg_mbcliplen(message, strlen(message), LEADERBOARD_ERROR_SIZE - 1);

	LWLockAcquire(leaderboard->lock, LW_EXCLUSIVE);
	slot = find_slot(NameStr(board->schema));
	if (slot != NULL)
	{
		slot->ended_ms = plinth_leaderboard_clock_ms();
		slot->failed_since++;
		slot->failures++;
		memcpy(slot->last_error, message, length);
		slot->last_error[length] = '\0';
	}
	LWLockRelease(leaderboard->lock);
}

int64
plinth_leaderboard_clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);

	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/*
 * plinth.leaderboard_stat() -> setof record
 *
 * One row for each leaderboard of this database that the upkeep worker keeps.
 *
 * Errors: 42501 the caller is neither service, monitor nor administrator;
 * 55000 the library is not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_leaderboard_stat);
Datum
plinth_sql_leaderboard_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LeaderboardSlot *slots;
	TimestampTz stats_reset;
	int count = 0;

	plinth_claims_require_monitor("leaderboards");
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
