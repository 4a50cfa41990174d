/*-------------------------------------------------------------------------
 *
 * audit_write.c
 *		Records of one statement into the log, in batches.
 *
 * Records are collected in a context that is emptied with each batch.  Its
 * first block is large where many records are expected: giving the memory
 * back to the system and taking it again costs more than the records do.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/tableam.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"

/*
 * A batch ends at this many records, or bytes of images.  It is small enough
 * to stay in the processor's cache until it is in the pages of the log.
 */
#define AUDIT_BATCH_RECORDS 200
#define AUDIT_BATCH_BYTES (4 * 1024 * 1024)

/* Images from this size on are compressed. */
#define AUDIT_PACK_BYTES 512

/* From this many records on the batch context is a large one. */
#define AUDIT_MANY_RECORDS 64

struct AuditWriter
{
	MemoryContext batch; /* records until they are written */
	AuditTarget target;
	AuditIndexes *indexes;
	AuditValues record; /* of the last record; partly of all of them */
	TupleTableSlot **slots;
	int capacity; /* of slots */
	int used;
	Size bytes; /* of images in the batch */
	CommandId command;
	const char *last_action; /* whose text action_text is */
	Datum action_text;
};

static pg_uuid_t *copy_id(const pg_uuid_t *id);
static const void *packed(const Jsonb *image);
static void set_value(AuditWriter *writer, AuditLogColumn column, Datum value);
static void set_pointer(AuditWriter *writer, AuditLogColumn column,
						const void *pointer);
static void flush(AuditWriter *writer);

/*
 * Begin to write the records of a statement.
 *
 *	expected	number of records to come, a guess that decides on memory only
 *
 * Errors: 55000 the log is not installed or has no partition for today.
 */
AuditWriter *
plinth_audit_write_begin(const AuditShape *shape, int64 expected)
{
	AuditWriter *writer = palloc0(sizeof(AuditWriter));

	plinth_audit_target_open(&writer->target, plinth_audit_statement_begin());
	plinth_audit_statement_values(shape, &writer->record);
	writer->indexes =
		plinth_audit_index_open(&writer->target, &writer->record, expected);

	writer->capacity = (int) Max(Min(expected, AUDIT_BATCH_RECORDS), 1);
	writer->slots = palloc0(sizeof(TupleTableSlot *) * writer->capacity);
	writer->command = GetCurrentCommandId(true);
	if (expected >= AUDIT_MANY_RECORDS)
		writer->batch = AllocSetContextCreate(
			CurrentMemoryContext, "plinth audit batch", 2 * 1024 * 1024,
			2 * 1024 * 1024, 8 * 1024 * 1024);
	else
		writer->batch = AllocSetContextCreate(
			CurrentMemoryContext, "plinth audit batch", ALLOCSET_DEFAULT_SIZES);

	return writer;
}

/*
 * The context in which to build the next record.  plinth_audit_write() may
 * empty it.
 */
MemoryContext
plinth_audit_write_context(AuditWriter *writer)
{
	return writer->batch;
}

/*
 * Take a record.  What it leads to lies in the writer's context or in one
 * that lives longer than the writer; the caller is not in the writer's.
 */
void
plinth_audit_write(AuditWriter *writer, const AuditRecord *record)
{
	TupleTableSlot *slot = writer->slots[writer->used];
	MemoryContext caller;

	if (slot == NULL)
	{
		slot = table_slot_create(writer->target.partition, NULL);
		writer->slots[writer->used] = slot;
	}

	if (writer->last_action != record->action)
	{
		writer->action_text = CStringGetTextDatum(record->action);
		writer->last_action = record->action;
	}

	caller = MemoryContextSwitchTo(writer->batch);
	set_value(writer, AUDIT_LOG_ID, UUIDPGetDatum(plinth_audit_next_id()));
	set_value(writer, AUDIT_LOG_ACTION, writer->action_text);
	set_pointer(writer, AUDIT_LOG_RECORD_ID,
				record->has_id ? copy_id(&record->id) : NULL);
	set_pointer(writer, AUDIT_LOG_RECORD_PK, record->key);
	set_pointer(writer, AUDIT_LOG_OLD_DATA, packed(record->before));
	set_pointer(writer, AUDIT_LOG_NEW_DATA, packed(record->after));
	set_pointer(writer, AUDIT_LOG_CHANGED_COLUMNS, record->changed);
	MemoryContextSwitchTo(caller);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < AUDIT_LOG_COLUMNS; i++)
	{
		int at = writer->target.attnums[i] - 1;

		slot->tts_values[at] = writer->record.values[i];
		slot->tts_isnull[at] = writer->record.nulls[i];
	}
	ExecStoreVirtualTuple(slot);

	writer->used++;
	if (record->before != NULL)
		writer->bytes += VARSIZE(record->before);
	if (record->after != NULL)
		writer->bytes += VARSIZE(record->after);
	if (writer->used == writer->capacity || writer->bytes > AUDIT_BATCH_BYTES)
		flush(writer);
}

/*
 * Write what is left and let go of the log.
 */
void
plinth_audit_write_end(AuditWriter *writer)
{
	flush(writer);

	for (int i = 0; i < writer->capacity && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	plinth_audit_index_close(writer->indexes);
	plinth_audit_target_close(&writer->target);
	MemoryContextDelete(writer->batch);
}

static pg_uuid_t *
copy_id(const pg_uuid_t *id)
{
	pg_uuid_t *copy = palloc(sizeof(pg_uuid_t));

	*copy = *id;

	return copy;
}

/*
 * An image as it is stored: compressed, where LZ4 is there to do it and there
 * is something to gain.  The server compresses rows of more than 2 kB only,
 * most of which it could do without, and then by a slower method as a rule.
 * A record is written once and hardly ever read, and the time of writing it
 * is that of its bytes: in the log, in the WAL and to the disk.
 */
static const void *
packed(const Jsonb *image)
{
#ifdef USE_LZ4
	if (image != NULL && VARSIZE(image) >= AUDIT_PACK_BYTES)
	{
		Datum result =
			toast_compress_datum(PointerGetDatum(image), TOAST_LZ4_COMPRESSION);

		if (DatumGetPointer(result) != NULL)
			return DatumGetPointer(result);
	}
#endif

	return image;
}

/*
 * Set a column of the record.
 */
static void
set_value(AuditWriter *writer, AuditLogColumn column, Datum value)
{
	writer->record.values[column] = value;
	writer->record.nulls[column] = false;
}

/*
 * Set a column of the record; NULL makes it null.
 */
static void
set_pointer(AuditWriter *writer, AuditLogColumn column, const void *pointer)
{
	writer->record.values[column] = PointerGetDatum(pointer);
	writer->record.nulls[column] = pointer == NULL;
}

/*
 * Write the batch and empty its context.
 */
static void
flush(AuditWriter *writer)
{
	MemoryContext caller;

	if (writer->used == 0)
		return;

	CHECK_FOR_INTERRUPTS();

	caller = MemoryContextSwitchTo(writer->batch);
	table_multi_insert(writer->target.partition, writer->slots, writer->used,
					   writer->command, 0, NULL);
	for (int i = 0; i < writer->used; i++)
	{
		plinth_audit_index_add(writer->indexes, writer->slots[i]);
		ExecClearTuple(writer->slots[i]);
	}
	MemoryContextSwitchTo(caller);

	writer->used = 0;
	writer->bytes = 0;
	MemoryContextReset(writer->batch);
}
