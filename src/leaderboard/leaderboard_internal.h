/*-------------------------------------------------------------------------
 *
 * leaderboard_internal.h
 *		What is kept of each leaderboard, for the files of this room.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_LEADERBOARD_INTERNAL_H
#define PLINTH_LEADERBOARD_INTERNAL_H

#include "leaderboard/leaderboard.h"

/* The materialized view of each instance. */
#define LEADERBOARD_VIEW "leaderboard_all_time"

/* One leaderboard of this database, as a look finds it. */
typedef struct Leaderboard
{
	NameData schema;
	bool countable; /* the counters tell whether it is dirty */
	uint64 fingerprint;
} Leaderboard;

/* The library was preloaded: the functions below may be called. */
extern bool plinth_leaderboard_available(void);

/* Free the slots of databases that are gone.  Runs in a transaction. */
extern void plinth_leaderboard_forget_dropped(void);

/* Free the slots of this database but those of the leaderboards given. */
extern void plinth_leaderboard_forget_missing(const Leaderboard *boards,
											  int count);

/*
 * Note whether the leaderboard is dirty, and say whether to refresh it now:
 * not before interval_ms have passed since the last refresh, or after
 * failures a pause that grows from a few seconds to an hour.
 */
extern bool plinth_leaderboard_due(const Leaderboard *board, int64 interval_ms);

/* Keep what a refresh did, or why it failed. */
extern void plinth_leaderboard_note_success(const Leaderboard *board,
											int64 rows, double duration_ms);
extern void plinth_leaderboard_note_failure(const Leaderboard *board,
											const char *message);

/* Milliseconds of a clock that nobody sets, the same one in all processes. */
extern int64 plinth_leaderboard_clock_ms(void);

#endif /* PLINTH_LEADERBOARD_INTERNAL_H */
