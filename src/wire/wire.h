/*-------------------------------------------------------------------------
 *
 * wire.h
 *		What is a change?
 *
 * A change is one row's insert, update, delete, or a table's truncate, with
 * its values as the WAL has them, or as text where that needed the catalogs
 * of the time.  It knows no catalog: what a reader needs of the table stands
 * in WireRelation, and how a value becomes text in WireColumn.  A message to a topic that was sent with the
 * transaction stands among its changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_WIRE_H
#define PLINTH_WIRE_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "utils/uuid.h"

typedef enum WireAction
{
	WIRE_INSERT,
	WIRE_UPDATE,
	WIRE_DELETE,
	WIRE_TRUNCATE,
	WIRE_MESSAGE, /* a broadcast: no row of a table */
	WIRE_PRESENCE /* who has come, changed, gone; never in the WAL */
} WireAction;

/* How a value's text becomes JSON. */
typedef enum WireForm
{
	WIRE_FORM_STRING, /* quoted and escaped */
	WIRE_FORM_NUMBER, /* as it stands, NaN and infinities quoted */
	WIRE_FORM_BOOL,	  /* t, f: true, false */
	WIRE_FORM_JSON	  /* json, jsonb: as it stands */
} WireForm;

struct WireColumn;

/* Append a value of a column; what else is needed is left in the current context. */
typedef void (*WireWrite)(StringInfo out, const struct WireColumn *column,
						  Datum datum);

typedef struct WireColumn
{
	const char *name;	   /* in the database's encoding */
	const char *type_name; /* pg_type.typname: int8, _text */
	Oid type;
	AttrNumber number; /* in the table; columns keep this order */
	WireForm form;
	bool in_key; /* part of the replica identity */

	/* for values whose text has not been made: used by these alone */
	WireWrite write_text;
	WireWrite write_json;
	const void *writes_as;
} WireColumn;

typedef struct WireRelation
{
	Oid relid;
	const char *schema;
	const char *table;
	bool identity_full; /* old rows come whole, not as the key */
	int ncolumns;		/* live columns, dropped ones left out */
	WireColumn *columns;
	uint64 layout;				/* plinth_wire_layout() of its tuples */
	Bitmapset *beyond_identity; /* columns that old rows have no value of */
} WireRelation;

typedef enum WireState
{
	WIRE_ABSENT,	/* not in this image: outside the key of an old row */
	WIRE_NULL,		/* SQL NULL */
	WIRE_TEXT,		/* there: plinth_wire_text() */
	WIRE_UNCHANGED, /* large value that the WAL does not carry again */
	WIRE_TOO_LARGE	/* there, but larger than what is kept */
} WireState;

typedef struct WireValue
{
	WireState state;
	uint32 made_length; /* of made, in bytes */
	const char *made;	/* its text, with a terminating zero, or NULL: */
	Datum datum;		/* made from this when it is needed */
} WireValue;

/* What somebody has sent to a topic.  Texts are in the database's encoding. */
typedef struct WireMessage
{
	const char *topic;	 /* 1 to 255 bytes */
	const char *event;	 /* 1 to 255 bytes */
	const char *payload; /* JSON */
	bool has_sender;
	pg_uuid_t sender; /* the user that sent it */
} WireMessage;

typedef struct WireChange
{
	WireAction action;
	const WireRelation *relation; /* NULL: a message */
	const WireMessage *message;	  /* of WIRE_MESSAGE */
	uint32 index;				  /* place in the transaction, from 0 */
	WireValue *old_row; /* ncolumns values; NULL in an UPDATE: same key */
	WireValue *new_row; /* ncolumns values, or NULL */

	/*
	 * The images as tuples of the layout that the relation names, all columns
	 * in them; only when WIRE_TUPLES was wanted.  Where there is an old row's
	 * tuple, the columns in beyond_identity are NULL in it and unknown.
	 */
	HeapTuple old_tuple;
	HeapTuple new_tuple;
	Bitmapset *old_unknown; /* columns too large, or not in the WAL, whose */
	Bitmapset *new_unknown; /* value in the tuple is NULL instead */
} WireChange;

/* What a reader wants of the changes of a table; to be ORed. */
#define WIRE_NOTHING 0x00
#define WIRE_TEXT_ROWS 0x01 /* old_row and new_row */
#define WIRE_TUPLES 0x02	/* old_tuple and new_tuple; text comes with it */

/* A committed transaction's changes of tables that somebody follows. */
typedef struct WireTransaction
{
	TransactionId xid;
	XLogRecPtr commit_lsn; /* start of the commit record */
	XLogRecPtr end_lsn;	   /* end of it */
	TimestampTz commit_time;
	int nchanges;
	WireChange *changes; /* in order */

	/*
	 * The changes are not all here, and readers get a gap: too large to keep,
	 * or a row could not be judged or decoded.
	 */
	bool overflowed;
} WireTransaction;

/* How much of the old row its reader may see. */
typedef enum WireOldPart
{
	WIRE_OLD_NONE,
	WIRE_OLD_KEY,
	WIRE_OLD_WHOLE
} WireOldPart;

/* What a reader is shown of a change. */
typedef struct WireView
{
	WireAction action; /* an UPDATE may enter or leave the reader's view */
	WireOldPart old_part;
	Bitmapset *columns; /* numbers of the columns that it may read */
} WireView;

/*
 * Append a change as the JSON object that subscribers are sent, all members
 * but "seq": a reader puts {"seq":n, in the place of the first brace.  When
 * the object would be larger than limit bytes, new and old hold the key only
 * and errors says so.
 */
extern void plinth_wire_write_change(StringInfo out, const WireTransaction *txn,
									 const WireChange *change,
									 const WireView *view, Size limit);

/*
 * A message as bytes and back.  Unpacking checks everything and copies
 * nothing: the message leads into the bytes.  Pure.
 */
extern void plinth_wire_pack_message(StringInfo out, const WireMessage *message);
extern bool plinth_wire_unpack_message(const char *bytes, Size length,
									   WireMessage *message);

/*
 * Append a message as the JSON object that subscribers are sent, all members
 * but "seq", as plinth_wire_write_change() does.
 */
extern void plinth_wire_write_message(StringInfo out, const WireMessage *message,
									  XLogRecPtr lsn, TimestampTz time);

/* Name of an action as payloads and filters spell it: INSERT, ... */
extern const char *plinth_wire_action_name(WireAction action);

/*
 * A condition on a column, column=op.value.  The strings are not terminated
 * and lead into the text that was parsed.
 */
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
	const char *column;
	size_t column_length;
	bool negated; /* not.op */
	WireOperator op;
	bool quoted; /* the value is in double quotes, which are not part of it */
	const char *value;
	size_t value_length;
} WireFilter;

/*
 * Parse the condition at *text and set *text behind it and its comma; an
 * empty rest is the end.  Returns NULL, or what is wrong: a sentence for an
 * error's detail.
 */
extern const char *plinth_wire_parse_filter(const char **text,
											WireFilter *filter);

/*
 * The filter's value with quotes and their escapes taken off, palloc'd.
 */
extern char *plinth_wire_filter_value(const WireFilter *filter);

/*
 * The values of a list, (a,"b"), without quotes and escapes, palloc'd; in the
 * order of the list.  Sets count.
 */
extern char **plinth_wire_filter_list(const WireFilter *filter, int *count);

/* Name of an operator as filters spell it. */
extern const char *plinth_wire_operator_name(WireOperator op);

/*
 * The text of a value in state WIRE_TEXT, as its type's output function gives
 * it but for what becomes JSON; with a terminating zero.  In the current memory
 * context, or as long-lived as the value.
 */
extern const char *plinth_wire_text(const WireColumn *column,
									const WireValue *value, uint32 *length);

/* A number that differs where tuples of two layouts must not be mixed. */
extern uint64 plinth_wire_layout(TupleDesc desc);

/* Place of a column by its number in the table, or -1. */
extern int plinth_wire_column(const WireRelation *relation, AttrNumber number);

#endif /* PLINTH_WIRE_H */
