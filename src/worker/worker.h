/*-------------------------------------------------------------------------
 *
 * worker.h
 *		Who does it, and when?
 *
 * One launcher for the server finds the databases that have the extension
 * and keeps two workers in each: the stream worker and the upkeep worker.
 * What follows is for those workers, for backends that have something for
 * them, and for the hooks of plinth.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_WORKER_H
#define PLINTH_WORKER_H

#include "postgres.h"

#include "access/xact.h"
#include "nodes/nodes.h"

#include "base/compat.h"

typedef enum WorkerKind
{
	WORKER_PROBE, /* looks whether the extension is there, and leaves */
	WORKER_STREAM,
	WORKER_UPKEEP
} WorkerKind;

typedef enum WorkerState
{
	WORKER_STARTING, /* or waits until it may try again */
	WORKER_RUNNING,
	WORKER_IDLE,  /* waits for something to do, or for plinth.enable() */
	WORKER_PARKED /* no process: what it needs is missing, or it kept failing */
} WorkerState;

/* Settings, memory, and the launcher's registration; called by plinth.c. */
extern void plinth_worker_define_settings(void);
extern void plinth_worker_shmem_request(void);
extern void plinth_worker_shmem_startup(void);
extern void plinth_worker_register_launcher(void);
extern void plinth_worker_stream_shmem_request(void);
extern void plinth_worker_stream_shmem_startup(void);
extern void plinth_worker_rotation_shmem_request(void);
extern void plinth_worker_rotation_shmem_startup(void);

extern bool plinth_worker_enabled; /* plinth.enabled */

/*
 * A worker's process from its first to its last moment.  Connects to the
 * database that the launcher has named, waits until there is work that is
 * ours (extension, plinth.enabled, identity), and calls the loop, outside a
 * transaction.  An error that leaves the loop is recorded and ends the
 * process; the launcher starts another after a while.  The loop runs until
 * CHECK_FOR_INTERRUPTS() or one of the calls below ends the process; it
 * reaches CHECK_FOR_INTERRUPTS() at least every 100 ms (plinth_worker_wait()
 * of base/worker.h does so).
 */
typedef void (*WorkerLoop)(void);
extern void plinth_worker_main(WorkerKind kind, Datum main_arg, WorkerLoop loop);

/* Shown in plinth.stat_workers. */
extern void plinth_worker_set_state(WorkerState state);

/*
 * End the process, without an error, when the work here is not ours any more:
 * extension dropped, plinth.enabled off, other identity.  In a transaction;
 * a worker calls it about once a second while it is at work.
 */
extern void plinth_worker_check(void);

/*
 * End the process, because something outside is missing that it needs (all
 * slots are in use): recorded as a failure with this text, tried again after
 * a while.  The text is copied.
 */
pg_noreturn extern void plinth_worker_give_up(const char *reason);

/*
 * Run a step as plinth_worker_transaction() does, and catch its error: it is
 * logged, counted and shown, and the caller goes on.  Returns false then.
 */
extern bool plinth_worker_attempt(const char *activity, void (*step)(void *arg),
								  void *arg);

/*
 * For a worker that commits should wake: from now on the next commit in this
 * database that has written sets our latch.  Call it before the last look
 * for work and then wait; the mark is used up by one commit.
 */
extern void plinth_worker_announce_wait(void);

/* Set the latch of a database's worker, when there is one. */
extern void plinth_worker_wake(WorkerKind kind, Oid database);

/* Entry points of the processes, by name. */
extern PGDLLEXPORT void plinth_worker_launcher_main(Datum main_arg);
extern PGDLLEXPORT void plinth_worker_probe_main(Datum main_arg);
extern PGDLLEXPORT void plinth_worker_stream_main(Datum main_arg);
extern PGDLLEXPORT void plinth_worker_upkeep_main(Datum main_arg);

/*
 * For plinth.c's ProcessUtility hook.  Before: when the statement needs a
 * database for itself and the caller has the right to run it, that database's
 * workers have left when this returns, and stay away until the release; the
 * result is to be given to it, InvalidOid when there is nothing to release.
 */
extern Oid plinth_worker_before_utility(Node *statement);
extern void plinth_worker_release(Oid database);
extern void plinth_worker_after_utility(Node *statement);

/* For its object access hook: an extension is about to be dropped. */
extern void plinth_worker_extension_dropped(Oid extension);

/* For its transaction callback. */
extern void plinth_worker_at_transaction_end(XactEvent event);

#endif /* PLINTH_WORKER_H */
