/*-------------------------------------------------------------------------
 *
 * decoder.h
 *		WAL to changes.
 *
 * A reader owns a temporary logical slot and a decoding context that it
 * keeps for its life, in the process that opened it: one a process, in the
 * database that the process is connected to.  The slot goes with the process.
 *
 * A turn of its owner: plinth_decoder_next() until enough or NULL,
 * plinth_decoder_pause(), ordinary transactions that use what was read,
 * plinth_decoder_confirm().
 *
 * What was confirmed can be kept for a while, for those who come back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DECODER_H
#define PLINTH_DECODER_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "wire/wire.h"

typedef struct DecoderReader DecoderReader;

/*
 * What of this table's changes does somebody want: WIRE_NOTHING, or
 * WIRE_TEXT_ROWS and WIRE_TUPLES?  Asked for each change, while a historic
 * snapshot is active: must not touch catalogs and must not fail.
 */
typedef int (*DecoderWants)(Oid relid, void *arg);

/*
 * Read a logical message of a transaction (its top one's number), when it is
 * one that somebody wants; the message may lead into the bytes, which anybody
 * may have written.  Asked as DecoderWants is.
 */
typedef bool (*DecoderReads)(const char *prefix, const char *bytes, Size length,
							 TransactionId xid, WireMessage *message, void *arg);

typedef struct DecoderPosition
{
	XLogRecPtr confirmed_lsn; /* all before it has been delivered */
	XLogRecPtr restart_lsn;	  /* oldest WAL that the slot holds */
	int64 transactions;		  /* committed, with changes that were wanted */
	int64 changes;			  /* that were wanted */
	int64 errors;			  /* changes that could not be judged or decoded */
	int64 overflows;		  /* transactions that were too large to keep */
} DecoderPosition;

/*
 * What this server lacks that decoding needs, or NULL.  To be asked before
 * opening.
 */
extern const char *plinth_decoder_missing(void);

/* Name of the slot of a database; name has NAMEDATALEN bytes. */
extern void plinth_decoder_slot_name(Oid database, char *name);

/*
 * Make the slot and start to decode; reads is NULL where no message is
 * wanted.  Outside a transaction.  Waits until
 * the transactions that write at this moment have ended.  What commits after
 * it returns is decoded.
 */
extern DecoderReader *plinth_decoder_open(DecoderWants wants,
										  DecoderReads reads, void *arg);

/*
 * The next committed transaction with changes that somebody wants, in commit
 * order; NULL when the WAL that has been flushed is read, or after about
 * 50 ms without one (plinth_decoder_at_end() tells).  Outside a transaction.
 * The result lives until plinth_decoder_confirm(), or as long as it is kept.
 */
extern const WireTransaction *plinth_decoder_next(DecoderReader *reader);

/* Has all WAL been read that was flushed when next() looked last? */
extern bool plinth_decoder_at_end(const DecoderReader *reader);

/* Has more been flushed since?  Does not touch the decoding context. */
extern bool plinth_decoder_has_more(const DecoderReader *reader);

/* End of the last record that has been read. */
extern XLogRecPtr plinth_decoder_read_up_to(const DecoderReader *reader);

/* Bytes of memory that the transactions hold that next() has returned. */
extern Size plinth_decoder_memory(const DecoderReader *reader);

/*
 * Before ordinary transactions: make sure that they find the catalogs as they
 * are now, not as decoding saw them.
 */
extern void plinth_decoder_pause(DecoderReader *reader);

/*
 * What was returned is delivered, or nobody's: let the slot move on, and
 * keep or free it.  Logs a running-transactions record now and then.
 */
extern void plinth_decoder_confirm(DecoderReader *reader);

/* Keep so many bytes of what is confirmed, the latest; 0, at first: nothing. */
extern void plinth_decoder_keep(DecoderReader *reader, Size limit);

/*
 * The transactions that are kept, in commit order; the array is in the current
 * memory context, they live until the next plinth_decoder_confirm().  To be
 * used outside a turn.
 */
extern const WireTransaction **plinth_decoder_kept(const DecoderReader *reader,
												   int *count);

/*
 * Every commit from this position on that changed the table is kept, with what
 * is wanted of its changes (WIRE_TEXT_ROWS, and WIRE_TUPLES), or has not been
 * read yet.
 */
extern XLogRecPtr plinth_decoder_kept_from(const DecoderReader *reader,
										   Oid relid, int wanted);

/* Something of what was read is lost: keep nothing of it. */
extern void plinth_decoder_lose(DecoderReader *reader);

extern void plinth_decoder_position(const DecoderReader *reader,
									DecoderPosition *position);

#endif /* PLINTH_DECODER_H */
