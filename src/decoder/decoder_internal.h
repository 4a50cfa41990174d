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

#include "access/attmap.h"
#include "access/htup.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "utils/relcache.h"

#include "decoder/decoder_type.h"

/* Larger values are marked WIRE_TOO_LARGE instead of kept. */
#define DECODER_VALUE_LIMIT ((Size) 8 * 1024 * 1024)

/* Larger transactions are marked as overflowed instead of kept. */
#define DECODER_TRANSACTION_LIMIT ((Size) 64 * 1024 * 1024)

/* Whose changes are decoded: of every table, or of what is published. */
typedef struct DecoderScope
{
	bool every_table;
	List *publications; /* their names; one that does not exist has no tables */
} DecoderScope;

/* What the publications of a scope say of a table. */
typedef struct DecoderPublished
{
	bool publishes[4]; /* by WireAction */
	Oid shown_as;	   /* the table, or the root whose partition it is */
	bool has_columns;
	Bitmapset *columns; /* of the table that it is shown as */
	List *filters[3];	/* by WireAction: conditions to be ORed; NIL: none */
} DecoderPublished;

typedef struct DecoderColumn
{
	AttrNumber number; /* in the table that the change is shown as */
	bool is_varlena;
	bool in_old; /* an old row has a value of it */
	bool by_value;
	int16 length;
	bool at_once;	 /* its text needs the catalogs of the time */
	const char *key; /* its quoted name after a comma, and a colon */
	int key_length;
	DecoderType type;
} DecoderColumn;

/* The rows of a change, as those of the table that it is shown as. */
typedef struct DecoderRows
{
	WireAction action; /* a row filter may have changed it */
	TupleDesc desc;
	HeapTuple old_tuple; /* or NULL, as the values */
	HeapTuple new_tuple;
	Datum *old_values; /* by column number, from 0 */
	bool *old_nulls;
	Datum *new_values;
	bool *new_nulls;
} DecoderRows;

/* What is known of a table, as of the transaction that is being decoded. */
typedef struct DecoderRelation
{
	Oid relid; /* hash key - MUST BE FIRST */
	bool valid;
	bool published;			/* at all */
	bool publishes[4];		/* by WireAction */
	Oid shown_as;			/* itself, or the root of its partition tree */
	XLogRecPtr missed_upto; /* a commit before it had changes not wanted */
	XLogRecPtr text_upto;	/* a commit before it, changes without tuples */
	MemoryContext context;	/* of everything below; NULL: not built yet */
	WireRelation *wire;		/* NULL when not published */
	DecoderColumn *columns; /* as many as wire has */
	DecoderTypeNeeds needs;
	AttrMap *map;	/* from its columns to the root's; NULL: they agree */
	TupleDesc desc; /* the root's; NULL: its own */
	struct DecoderFilter *filter; /* row filter; NULL: none */
	DecoderRows rows;			  /* room for one change's values */
	const char *heads[4];		  /* used by decoder_output.c */
	const char *types;
} DecoderRelation;

/* A transaction whose changes are being kept. */
typedef struct DecoderTransaction
{
	dlist_node node; /* in one of the reader's lists */
	MemoryContext context;
	Size memory; /* of the context, when it was read */
	char *room;	 /* of a piece of the context; room_left bytes are free */
	Size room_left;
	Size room_size; /* of that piece */
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
	DecoderScope scope;
	dlist_head finished; /* transactions that next() has returned */
	Size finished_memory;
	dlist_head kept; /* that were confirmed, oldest first */
	int nkept;
	Size kept_memory;
	Size keep_limit;
	XLogRecPtr kept_from; /* nothing is missing among them from there on */
	bool lost;			  /* of this turn nothing is to be kept */
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

/*
 * decoder_relcache.c: one scope at a time in a process.  The scope and parent
 * live as long as the cache, which goes with parent.
 */
extern void plinth_decoder_relcache_init(MemoryContext parent,
										 const DecoderScope *scope);
extern DecoderRelation *plinth_decoder_relation(Relation relation);
extern void plinth_decoder_relcache_sweep(XLogRecPtr position);
extern Size plinth_decoder_relcache_set_aside(void);
extern XLogRecPtr plinth_decoder_relation_kept_from(Oid relid, int wanted);
extern void plinth_decoder_forget_catalogs(XLogRecPtr position);

/*
 * decoder_keep.c: what was finished is kept as far as it may be, and the rest
 * freed.
 */
extern void plinth_decoder_keep_finished(DecoderReader *reader);

/* decoder_publication.c: false when it is not published at all */
extern bool plinth_decoder_published(const DecoderScope *scope, Relation relation,
									 DecoderPublished *published);

/* decoder_filter.c */
extern struct DecoderFilter *
plinth_decoder_filter(const DecoderPublished *published, TupleDesc desc);
extern bool plinth_decoder_passes(struct DecoderFilter *filter,
								  DecoderRows *rows);

/*
 * decoder_rows.c: the rows of a change, which live until the next change of
 * the table; false when nothing of it is published.  What is needed besides
 * is left in the current memory context.
 */
extern bool plinth_decoder_rows(DecoderRelation *known, Relation relation,
								ReorderBufferChange *change, DecoderRows *rows);

/*
 * decoder_tuple.c: the values of a row, as long-lived as the transaction.
 */
extern WireValue *plinth_decoder_row(const DecoderRelation *known,
									 const DecoderRows *rows, bool is_old,
									 DecoderTransaction *transaction);
extern void plinth_decoder_write_column_text(StringInfo out,
											 const WireColumn *column,
											 Datum datum);
extern void plinth_decoder_write_column_json(StringInfo out,
											 const WireColumn *column,
											 Datum datum);

/* decoder_image.c */
extern void plinth_decoder_keep_images(const DecoderRelation *known,
									   TupleDesc desc, HeapTuple old_tuple,
									   HeapTuple new_tuple, WireChange *change,
									   MemoryContext context);

/* decoder_output.c: the callbacks of slots that others made */
extern void plinth_decoder_output_callbacks(OutputPluginCallbacks *callbacks);
extern void plinth_decoder_output_start(LogicalDecodingContext *decoding,
										OutputPluginOptions *options,
										bool is_init);

#endif /* PLINTH_DECODER_INTERNAL_H */
