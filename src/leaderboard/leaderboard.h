/*-------------------------------------------------------------------------
 *
 * leaderboard.h
 *		Scores to ranks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_LEADERBOARD_H
#define PLINTH_LEADERBOARD_H

#include "postgres.h"

/* Settings and memory; called by plinth.c. */
extern void plinth_leaderboard_define_settings(void);
extern void plinth_leaderboard_shmem_request(void);
extern void plinth_leaderboard_shmem_startup(void);

/*
 * Refresh the leaderboards of this database that are dirty and due.  For a
 * background worker that is connected to the database as a superuser, outside
 * a transaction: it starts and ends its own.  The failure of one leaderboard
 * is logged and kept for plinth.stat_leaderboard, and the others have their
 * turn.  Cheap when called too early.
 *
 * Returns the milliseconds after which there may be something to do.
 */
extern long plinth_leaderboard_step(void);

#endif /* PLINTH_LEADERBOARD_H */
