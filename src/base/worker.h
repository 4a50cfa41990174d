/*-------------------------------------------------------------------------
 *
 * worker.h
 *		How a background worker waits, and how it runs a step of its work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_BASE_WORKER_H
#define PLINTH_BASE_WORKER_H

#include "postgres.h"

/* A step of a worker's work; the argument is the caller's. */
typedef void (*WorkerStep)(void *arg);

/*
 * Sleep until there is something to do, and take in new settings.  Returns
 * true when the latch was set, false when the nap was over.
 */
extern bool plinth_worker_wait(long naptime_ms, uint32 wait_event);

/*
 * Run one step of work in a transaction of its own, with an active snapshot
 * and SPI at hand.  The activity is what pg_stat_activity shows meanwhile.
 */
extern void plinth_worker_transaction(const char *activity, WorkerStep step,
									  void *arg);

#endif /* PLINTH_BASE_WORKER_H */
