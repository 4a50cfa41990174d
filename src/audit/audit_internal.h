/*-------------------------------------------------------------------------
 *
 * audit_internal.h
 *		What the files of this room share.
 *
 * A shape says how the rows of one table become records.  It is made from the
 * catalog and kept; everything that handles single rows is pure over a shape
 * and tuples.  A writer takes the records of one statement and
 * puts them into the log in batches.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_AUDIT_INTERNAL_H
#define PLINTH_AUDIT_INTERNAL_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "utils/aclchk_internal.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/uuid.h"

/* What takes the place of a value that must not be kept. */
#define AUDIT_REDACTED "[redacted]"

/*
 * An image has room for this many bytes of values of variable length, some
 * of which count several times; jsonb itself ends at 256 MB, and building it
 * at 1 GB of memory.  A value that no longer fits is named by its size.
 */
#define AUDIT_MAX_IMAGE (32 * 1024 * 1024)

/* How a value becomes jsonb. */
typedef enum AuditForm
{
	AUDIT_BOOL,
	AUDIT_INT2,
	AUDIT_INT4,
	AUDIT_INT8,
	AUDIT_FLOAT4,
	AUDIT_FLOAT8,
	AUDIT_NUMERIC,
	AUDIT_TEXT, /* text, varchar, char(n): the bytes themselves */
	AUDIT_UUID,
	AUDIT_BYTEA,
	AUDIT_DATETIME, /* date, timestamp, timestamptz: ISO 8601 */
	AUDIT_JSONB,	/* embedded */
	AUDIT_JSON,		/* embedded, if jsonb can hold it */
	AUDIT_OUTPUT,	/* a string, by the type's output function */
	AUDIT_TO_JSONB	/* whatever to_jsonb() makes of it */
} AuditForm;

typedef struct AuditColumn
{
	AttrNumber attnum;
	const char *name;
	int name_length; /* bytes */
	Oid type;		 /* looked through domains */
	bool by_value;
	int16 length; /* pg_type.typlen */
	bool redacted;
	bool ignored;
	AuditForm form;
	FmgrInfo convert; /* AUDIT_OUTPUT, AUDIT_JSON, AUDIT_TO_JSONB */
} AuditColumn;

typedef struct AuditShape
{
	const char *schema; /* as the log names the table */
	const char *table;
	Oid named_after;	  /* the table that has these names */
	bool lasts;			  /* calls the server's own functions only */
	int ncolumns;		  /* live columns */
	AuditColumn *columns; /* in the order in which jsonb keeps its keys */
	int *position;		  /* columns in table order, as indexes of columns */
	bool *every;		  /* ncolumns times true */
	int nkeys;			  /* columns of the primary key, 0 when none */
	bool *keys;			  /* which columns these are */
	int uuid_key;		  /* the only key column if it is a uuid, else -1 */
} AuditShape;

typedef struct AuditRecord
{
	const char *action; /* a constant; the writer keeps the pointer */
	bool has_id;
	pg_uuid_t id;		/* valid when has_id */
	Jsonb *key;			/* any other key, or NULL */
	Jsonb *before;		/* or NULL */
	Jsonb *after;		/* or NULL */
	ArrayType *changed; /* text[], or NULL */
} AuditRecord;

/* Columns of the log, in its order. */
typedef enum AuditLogColumn
{
	AUDIT_LOG_ID,
	AUDIT_LOG_TABLE_SCHEMA,
	AUDIT_LOG_TABLE_NAME,
	AUDIT_LOG_RECORD_ID,
	AUDIT_LOG_RECORD_PK,
	AUDIT_LOG_ACTION,
	AUDIT_LOG_OLD_DATA,
	AUDIT_LOG_NEW_DATA,
	AUDIT_LOG_CHANGED_COLUMNS,
	AUDIT_LOG_USER_ID,
	AUDIT_LOG_USER_EMAIL,
	AUDIT_LOG_DB_USER,
	AUDIT_LOG_IP_ADDRESS,
	AUDIT_LOG_USER_AGENT,
	AUDIT_LOG_SESSION_ID,
	AUDIT_LOG_APPLICATION_NAME,
	AUDIT_LOG_ERA,
	AUDIT_LOG_TXID,
	AUDIT_LOG_CREATED_AT,
	AUDIT_LOG_COLUMNS
} AuditLogColumn;

/* Values of a record, or those that all records of a statement share. */
typedef struct AuditValues
{
	Datum values[AUDIT_LOG_COLUMNS];
	bool nulls[AUDIT_LOG_COLUMNS];
} AuditValues;

/* Where the records of a statement go. */
typedef struct AuditTarget
{
	Relation log;		/* the partitioned table */
	Relation partition; /* the one for the statement's time */
	AttrNumber attnums[AUDIT_LOG_COLUMNS]; /* our columns in the partition */
} AuditTarget;

typedef struct AuditIndexes AuditIndexes;
typedef struct AuditWriter AuditWriter;

/* audit_shape.c */
extern AuditShape *plinth_audit_shape(Relation rel, Oid trigger_id,
									  const char *redacted, const char *ignored);

/* audit_known.c */
extern const AuditShape *plinth_audit_shape_of(Relation rel,
											   const Trigger *trigger);

/* audit_image.c */
extern Jsonb *plinth_audit_image(const AuditShape *shape, TupleTableSlot *slot,
								 const bool *which);

/* audit_row.c */
extern bool plinth_audit_changes(const AuditShape *shape, TupleTableSlot *before,
								 TupleTableSlot *after, bool *changed);
extern ArrayType *plinth_audit_names(const AuditShape *shape, const bool *which);

/* audit_key.c */
extern void plinth_audit_find_key(Relation rel, AuditShape *shape);
extern void plinth_audit_row_key(const AuditShape *shape, TupleTableSlot *slot,
								 AuditRecord *record);

/* audit_write.c */
extern AuditWriter *plinth_audit_write_begin(const AuditShape *shape,
											 int64 expected);
extern MemoryContext plinth_audit_write_context(AuditWriter *writer);
extern void plinth_audit_write(AuditWriter *writer, const AuditRecord *record);
extern void plinth_audit_write_end(AuditWriter *writer);

/* audit_target.c */
extern void plinth_audit_target_open(AuditTarget *target, TimestampTz at);
extern void plinth_audit_target_close(AuditTarget *target);

/* audit_marks.c */
extern bool plinth_audit_marks_wanted(void);
extern void plinth_audit_write_mark(const char *kind, const char *schema,
									const char *table, const char *command);

/* audit_form.c */

/* The audit triggers of a table. */
typedef struct AuditTriggers
{
	bool watched;	   /* it is audited, or a table of the log itself */
	bool weakened;	   /* one of them does not fire as it should */
	bool own;		   /* made for this table */
	bool by_statement; /* of those that are */
	bool cloned;	   /* made for the table that this is a partition of */
	char *redacted;	   /* text[] literals, of its own or else of the clones; */
	char *ignored;	   /* NULL when it has none that make records */
} AuditTriggers;

extern void plinth_audit_look(Oid relid, AuditTriggers *triggers);
extern void plinth_audit_adopt(Oid relid);
extern void plinth_audit_adopt_detached(Oid partition, Oid parent);

/* audit_command.c */
extern const char *plinth_audit_command_kind(Node *command, bool weakened);
extern char *plinth_audit_command_text(Node *command);
extern char *plinth_audit_grant_text(const InternalGrant *grant);

/* audit_index.c */
extern AuditIndexes *plinth_audit_index_open(const AuditTarget *target,
											 const AuditValues *common,
											 int64 expected);
extern void plinth_audit_index_add(AuditIndexes *indexes, TupleTableSlot *slot);
extern void plinth_audit_index_close(AuditIndexes *indexes);

/* audit_seal.c */
extern void plinth_audit_seal_define_settings(void);

/* audit_statement.c */
extern TimestampTz plinth_audit_statement_begin(void);
extern void plinth_audit_statement_values(const AuditShape *shape,
										  AuditValues *common);
extern pg_uuid_t *plinth_audit_next_id(void);

#endif /* PLINTH_AUDIT_INTERNAL_H */
