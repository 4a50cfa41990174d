/*-------------------------------------------------------------------------
 *
 * worker_stream.h
 *		What the stream worker counts, shared with plinth.stat_stream.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_WORKER_STREAM_H
#define PLINTH_WORKER_STREAM_H

#include "worker/worker.h"

#include "decoder/decoder.h"

/*
 * This process is the stream worker of a database, until it ends.
 */
extern void plinth_worker_stream_stat_attach(Oid database);

/*
 * Where the worker is.  At_end: it has read all WAL that there was.
 */
extern void plinth_worker_stream_stat_report(const DecoderPosition *position,
											 bool at_end);

/* Transactions that could not be delivered. */
extern void plinth_worker_stream_stat_failed(int64 transactions);

/*
 * This worker has come on by a change, a record or a transaction.  Cheap
 * enough to be called for each.
 */
extern void plinth_worker_stream_stat_step(void);

/* It has read all WAL before this place. */
extern void plinth_worker_stream_stat_read(XLogRecPtr read_lsn);

/* How far a stream worker has come. */
typedef struct StreamProgress
{
	int pid;
	uint64 steps;		 /* calls of plinth_worker_stream_stat_step() */
	XLogRecPtr read_lsn; /* end of what it has read; invalid at the start */
} StreamProgress;

/* That of a database; false: it has none. */
extern bool plinth_worker_stream_progress(Oid database, StreamProgress *progress);

/* worker_stream_guard.c: plinth.realtime_max_slot_wal */
extern void plinth_worker_stream_guard_define_settings(void);

/*
 * For the upkeep worker, outside a transaction: is the stream worker of its
 * database stuck?  Returns in how many ms to look again.
 */
extern long plinth_worker_stream_guard_look(void);

#endif /* PLINTH_WORKER_STREAM_H */
