/*-------------------------------------------------------------------------
 *
 * decoder_output.h
 *		What the files share that serve the slots that others made.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DECODER_OUTPUT_H
#define PLINTH_DECODER_OUTPUT_H

#include "decoder/decoder_internal.h"

/* What a consumer asks for; docs/change-stream.md describes each. */
typedef struct DecoderOptions
{
	List *publications; /* names; NIL: every table */
	bool include_transaction;
	bool include_types;
	bool include_xids;
	bool include_lsn;
	bool include_timestamp;
	bool include_origin;
	bool only_local;
	bool messages;
	bool streaming;
	int batch; /* kB of documents in a message; 0: one document */
} DecoderOptions;

/* One consumer, for the time of its decoding context. */
typedef struct DecoderOutput
{
	DecoderOptions options;
	DecoderScope scope;
	LogicalDecodingContext *decoding;
	MemoryContext scratch; /* of one change */
	StringInfoData out;	   /* documents that are not written yet */
	XLogRecPtr out_lsn;	   /* of the last of them */
	StringInfoData head;   /* members that a transaction's documents share */
	bool begun;			   /* BEGIN has been written, and COMMIT has to be */
	bool has_head;
	bool has_settings; /* plinth_text_form_local() has been called */
	bool streaming;	   /* the transaction is still in progress */
	uint64 index;	   /* of the next document in its transaction */
	int skipped;	   /* changes since something was written */
} DecoderOutput;

/* decoder_options.c: options is set to the defaults and then to these. */
extern void plinth_decoder_read_options(DecoderOptions *options, List *given);

/* decoder_output.c: the members that documents of this transaction share. */
extern void plinth_decoder_output_head(DecoderOutput *output,
									   ReorderBufferTXN *txn,
									   TransactionId sub_xid);

/*
 * decoder_document.c: append a change as a document.  An error that is the
 * change's own becomes part of the document.
 */
extern void plinth_decoder_write_change(DecoderOutput *output,
										ReorderBufferTXN *txn,
										DecoderRelation *known, Relation relation,
										ReorderBufferChange *change);
extern void plinth_decoder_write_truncate(DecoderOutput *output,
										  ReorderBufferTXN *txn,
										  DecoderRelation *known,
										  ReorderBufferChange *change);

/* Make room for one document more, by writing what is there if need be. */
extern void plinth_decoder_next_document(DecoderOutput *output);

/* A document has been appended: the separator is added when another comes. */
extern void plinth_decoder_end_document(DecoderOutput *output);

#endif /* PLINTH_DECODER_OUTPUT_H */
