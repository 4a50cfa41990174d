/*-------------------------------------------------------------------------
 *
 * wire.h
 *		What is a change?
 *
 * A change is one row's insert, update, delete, or a table's truncate, with
 * the text form of its values as the type's output function gave it while
 * the WAL was decoded.  It knows no catalog: what a reader needs of the
 * table stands in WireRelation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_WIRE_H
#define PLINTH_WIRE_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"

typedef enum WireAction
{
	WIRE_INSERT,
	WIRE_UPDATE,
	WIRE_DELETE,
	WIRE_TRUNCATE
} WireAction;

/* How a value's text becomes JSON. */
typedef enum WireForm
{
	WIRE_FORM_STRING, /* quoted and escaped */
	WIRE_FORM_NUMBER, /* as it stands, NaN and infinities quoted */
	WIRE_FORM_BOOL,	  /* t, f: true, false */
	WIRE_FORM_JSON	  /* json, jsonb: as it stands */
} WireForm;

typedef struct WireColumn
{
	const char *name; /* in the database's encoding */
	Oid type;
	AttrNumber number; /* in the table; columns keep this order */
	WireForm form;
	bool in_key; /* part of the replica identity */
} WireColumn;

typedef struct WireRelation
{
	Oid relid;
	const char *schema;
	const char *table;
	bool identity_full; /* old rows come whole, not as the key */
	int ncolumns;		/* live columns, dropped ones left out */
	WireColumn *columns;
} WireRelation;

typedef enum WireState
{
	WIRE_ABSENT,   /* not in this image: outside the key of an old row */
	WIRE_NULL,	   /* SQL NULL */
	WIRE_TEXT,	   /* text and length are set */
	WIRE_UNCHANGED /* large value that the WAL does not carry again */
} WireState;

typedef struct WireValue
{
	WireState state;
	uint32 length;	  /* of text, in bytes */
	const char *text; /* with a terminating zero */
} WireValue;

/* A condition on one column: column=[not.]op.value. */
typedef enum WireOperator
{
	WIRE_OP_EQ,
	WIRE_OP_NEQ,
	WIRE_OP_LT,
	WIRE_OP_LTE,
	WIRE_OP_GT,
	WIRE_OP_GTE,
	WIRE_OP_IN,
	WIRE_OP_LIKE,
	WIRE_OP_ILIKE,
	WIRE_OP_IS,
	WIRE_OP_MATCH,
	WIRE_OP_IMATCH,
	WIRE_OP_ISDISTINCT
} WireOperator;

typedef struct WireFilter
{
	char *column;
	bool negated;
	WireOperator op;
	char *value; /* without the quotes that may stand around it */
	bool more;	 /* another condition follows, after a comma */
} WireFilter;

/*
 * Read the first condition of a filter, in the current memory context.
 * NULL, or a sentence that says what is wrong with it.
 */
extern const char *plinth_wire_read_filter(const char *text, WireFilter *filter);

typedef struct WireChange
{
	WireAction action;
	const WireRelation *relation;
	uint32 index;		/* place in the transaction, from 0 */
	WireValue *old_row; /* ncolumns values, or NULL */
	WireValue *new_row; /* ncolumns values, or NULL */
} WireChange;

/* A committed transaction's changes of tables that somebody follows. */
typedef struct WireTransaction
{
	TransactionId xid;
	XLogRecPtr commit_lsn; /* start of the commit record */
	XLogRecPtr end_lsn;	   /* end of it */
	TimestampTz commit_time;
	int nchanges;
	WireChange *changes; /* in order */
	bool overflowed;	 /* too large to keep: readers get a gap */
} WireTransaction;

#endif /* PLINTH_WIRE_H */
