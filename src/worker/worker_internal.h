/*-------------------------------------------------------------------------
 *
 * worker_internal.h
 *		The table of workers, which the files of this room share.
 *
 * Locking: workers->lock guards everything in WorkerShared; "generation" and
 * "waiting" are also read without it, to spare a commit the lock when nobody
 * waits, and "waiting" is set without it by its own process.  It
 * is held for a look through the table, never across a wait or an error.  A
 * latch found in the table is set under the lock: it belongs to the process
 * as long as its pid is there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_WORKER_INTERNAL_H
#define PLINTH_WORKER_INTERNAL_H

#include "worker/worker.h"

#include "datatype/timestamp.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* Workers at once in the server: two a database, and one probe. */
#define WORKER_ENTRIES 512
/* Databases that commands want for themselves at once. */
#define WORKER_HOLDS 64
/* Databases that the launcher is asked to look at, before it looks at all. */
#define WORKER_REQUESTS 32
#define WORKER_ERROR_SIZE 256

/* How a worker's last process ended. */
typedef enum WorkerOutcome
{
	WORKER_ENDED,	  /* was told to end, or never came to work */
	WORKER_SENT_AWAY, /* left a database that a command wants for itself */
	WORKER_FAILED,	  /* an error, recorded in last_error */
	WORKER_UNWANTED,  /* found that there is nothing for it in the database */
	WORKER_WANTED	  /* a probe found work for the others */
} WorkerOutcome;

typedef struct WorkerEntry
{
	Oid database; /* InvalidOid: free */
	WorkerKind kind;
	int pid;	  /* 0: no process */
	Latch *latch; /* that process's */
	WorkerState state;
	WorkerOutcome outcome;
	volatile bool waiting; /* commits should set the latch; not locked */
	TimestampTz started_at;
	int64 starts;
	int64 failures;
	TimestampTz last_error_at;
	char last_error[WORKER_ERROR_SIZE];
} WorkerEntry;

/* A command wants the database for itself. */
typedef struct WorkerHold
{
	Oid database;	/* InvalidOid: free */
	int holder_pid; /* the backend that runs the command */
} WorkerHold;

typedef struct WorkerShared
{
	LWLock *lock;
	volatile uint32 generation; /* counts entries made and freed, from 1; may
								 * be read without the lock */
	Latch *launcher_latch;		/* NULL while there is no launcher */
	bool look_at_all;			/* the requests did not fit */
	bool rescan;				/* databases have come or gone */
	int nrequests;
	Oid requests[WORKER_REQUESTS];
	TimestampTz stats_reset;
	WorkerHold holds[WORKER_HOLDS];
	WorkerEntry entries[WORKER_ENTRIES];
} WorkerShared;

/* Link to shared memory; NULL when the library was not preloaded. */
extern WorkerShared *plinth_worker_shared;

/* The entry of this process; NULL when it is no worker. */
extern WorkerEntry *plinth_worker_mine;

/* worker_table.c; the caller holds the lock where it says "locked" */
extern WorkerEntry *plinth_worker_find_locked(Oid database, WorkerKind kind);
extern WorkerEntry *plinth_worker_make_locked(Oid database, WorkerKind kind);
extern void plinth_worker_free_locked(WorkerEntry *entry);
extern bool plinth_worker_held_locked(Oid database);
extern void plinth_worker_ask_launcher(Oid database);
extern void plinth_worker_record_error(WorkerEntry *entry, const char *text);
extern const char *plinth_worker_kind_name(WorkerKind kind);

/* worker_hold.c */
extern void plinth_worker_hold(Oid database);
extern void plinth_worker_hold_until_end(void);
extern void plinth_worker_look_here(void);

#endif /* PLINTH_WORKER_INTERNAL_H */
