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

#endif /* PLINTH_WORKER_STREAM_H */
