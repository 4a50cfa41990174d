/*-------------------------------------------------------------------------
 *
 * decoder_internal.h
 *		What the files of the room share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DECODER_INTERNAL_H
#define PLINTH_DECODER_INTERNAL_H

#include "decoder/decoder.h"

#include "access/htup.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "replication/logical.h"
#include "utils/relcache.h"

/* Larger values are marked WIRE_TOO_LARGE instead of kept. */
#define DECODER_VALUE_LIMIT ((Size) 8 * 1024 * 1024)

/* Larger transactions are marked as overflowed instead of kept. */
#define DECODER_TRANSACTION_LIMIT ((Size) 64 * 1024 * 1024)

/* What is known of a table, as of the transaction that is being decoded. */
typedef struct DecoderRelation
{
	Oid relid; /* hash key - MUST BE FIRST */
	bool valid;
	bool published;		   /* at all */
	bool publishes[4];	   /* by WireAction */
	MemoryContext context; /* of everything below; NULL: not built yet */
	WireRelation *wire;	   /* NULL when not published */
	FmgrInfo *output;	   /* output functions of its columns */
	bool *is_varlena;	   /* are their types of variable length? */
	Bitmapset *identity;   /* column numbers an old row has values of */
} DecoderRelation;

/* A transaction whose changes are being kept. */
typedef struct DecoderTransaction
{
	dlist_node node; /* in the reader's list */
	MemoryContext context;
	int changes_allocated;
	WireTransaction wire;
} DecoderTransaction;

struct DecoderReader
{
	DecoderWants wants;
	DecoderReads reads;
	void *wants_arg; /* of both */
	LogicalDecodingContext *decoding;
	MemoryContext context; /* of the reader and all it has */
	MemoryContext scratch; /* of one change */
	dlist_head finished;   /* transactions that next() has returned */
	Size finished_memory;
	DecoderTransaction *current; /* being decoded, or NULL */
	DecoderTransaction *ready;	 /* committed, not yet returned, or NULL */
	bool opening;				 /* reading waits for WAL */
	bool turn;					 /* between next() and pause() */
	bool at_end;
	XLogRecPtr flushed_lsn; /* end of the WAL when reading came to it */
	XLogRecPtr confirmed_lsn;
	XLogRecPtr snapshot_lsn; /* our last running-transactions record */
	TimestampTz snapshot_at;
	int64 transactions;
	int64 changes;
	int64 errors;
	int64 overflows;
};

/* The reader of this process; the plugin's callbacks work for it. */
extern DecoderReader *plinth_decoder_reader;

/* decoder_relcache.c */
extern void plinth_decoder_relcache_init(MemoryContext parent);
extern DecoderRelation *plinth_decoder_relation(Relation relation);
extern void plinth_decoder_relcache_sweep(void);
extern void plinth_decoder_forget_catalogs(XLogRecPtr position);

/* decoder_tuple.c */
extern WireValue *plinth_decoder_row(const DecoderRelation *known,
									 TupleDesc desc, HeapTuple tuple,
									 bool is_old, const WireValue *old_row,
									 MemoryContext context);

/* decoder_image.c */
extern void plinth_decoder_keep_images(const DecoderRelation *known,
									   TupleDesc desc, HeapTuple old_tuple,
									   HeapTuple new_tuple, WireChange *change,
									   MemoryContext context);

#endif /* PLINTH_DECODER_INTERNAL_H */
