/*-------------------------------------------------------------------------
 *
 * audit_encode.c
 *		Records and seals as bytes that are the same everywhere.
 *
 * The bytes are a function of the values alone: not of the time zone, the
 * locale, the encoding of the database, or the way in which the server keeps
 * jsonb.  docs/audit.md gives the format to those who recompute it; a change
 * of it is a change of the two names below.
 *
 *	N				SQL NULL
 *	s length bytes	text in UTF-8, and whatever is written as text
 *	a count values	array
 *	o count pairs	object: key (length, bytes) and value, in the order of
 *					the keys' bytes
 *	d length bytes	number of a JSON document, in decimal digits
 *	t f n			true, false, null of a JSON document
 *
 * Lengths and counts are 32 bits, the most significant byte first.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/xid8.h"

#include "audit/audit_seal.h"
#include "base/compat.h"

#define RECORD_NAME "plinth-audit-record-1"
#define SEAL_NAME "plinth-audit-seal-1"

/* A key of an object and where its value is. */
typedef struct Pair
{
	char *key; /* UTF-8 */
	int length;
	JsonbValue value;
} Pair;

static void put_column(StringInfo out, AuditLogColumn column, Datum value);
static void put_text_array(StringInfo out, ArrayType *array);
static void put_document(StringInfo out, JsonbContainer *container);
static void put_object(StringInfo out, JsonbIterator **iterator, int count);
static void put_json_value(StringInfo out, const JsonbValue *value);
static int compare_pairs(const void *a, const void *b);
static void put_bytes(StringInfo out, char tag, const void *bytes, int length);
static void put_string(StringInfo out, const char *text);
static void put_text(StringInfo out, const char *text, int length);
static void put_integer(StringInfo out, int64 value);
static void put_time(StringInfo out, TimestampTz time);
static void put_bytea(StringInfo out, const bytea *bytes);
static char *to_utf8(const char *text, int length, int *utf8_length);

/*
 * Append a record.  The tuple has the columns AUDIT_RECORD_COLUMNS.  What is
 * allocated meanwhile is left in the current context.
 */
void
plinth_audit_encode_record(StringInfo out, HeapTuple tuple, TupleDesc tupdesc)
{
	Datum values[AUDIT_LOG_COLUMNS];
	bool nulls[AUDIT_LOG_COLUMNS];

	Assert(tupdesc->natts == AUDIT_LOG_COLUMNS);
	heap_deform_tuple(tuple, tupdesc, values, nulls);

	appendStringInfoString(out, RECORD_NAME);
	for (int i = 0; i < AUDIT_LOG_COLUMNS; i++)
		if (nulls[i])
			appendStringInfoChar(out, 'N');
		else
			put_column(out, (AuditLogColumn) i, values[i]);
}

/*
 * Append the part of a seal that is signed: everything but the signature.
 */
void
plinth_audit_encode_seal(StringInfo out, const AuditSeal *seal)
{
	appendStringInfoString(out, SEAL_NAME);
	put_integer(out, seal->id);
	put_integer(out, seal->era);
	put_string(out, seal->snapshot_text);
	put_time(out, seal->first_at);
	put_time(out, seal->last_at);
	put_integer(out, seal->rows);
	put_bytea(out, seal->root);
	put_bytea(out, seal->previous);
	put_bytea(out, seal->leaves_hash);
	put_integer(out, seal->key_id);
	put_time(out, seal->sealed_at);
}

/*
 * The hash that the next seal holds: over what is signed and the signature.
 */
void
plinth_audit_seal_hash(const AuditSeal *seal, AuditHash *hash)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	plinth_audit_encode_seal(&bytes, seal);
	put_bytea(&bytes, seal->signature);
	plinth_audit_hash(bytes.data, bytes.len, hash);
	pfree(bytes.data);
}

static void
put_column(StringInfo out, AuditLogColumn column, Datum value)
{
	switch (column)
	{
		case AUDIT_LOG_ID:
		case AUDIT_LOG_RECORD_ID:
		case AUDIT_LOG_USER_ID:
		case AUDIT_LOG_SESSION_ID:
			put_string(out,
					   DatumGetCString(DirectFunctionCall1(uuid_out, value)));
			break;

		case AUDIT_LOG_TABLE_SCHEMA:
		case AUDIT_LOG_TABLE_NAME:
		case AUDIT_LOG_ACTION:
		case AUDIT_LOG_USER_EMAIL:
		case AUDIT_LOG_DB_USER:
		case AUDIT_LOG_USER_AGENT:
		case AUDIT_LOG_APPLICATION_NAME:
		{
			text *string = DatumGetTextPP(value);

			put_text(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
			break;
		}

		case AUDIT_LOG_RECORD_PK:
		case AUDIT_LOG_OLD_DATA:
		case AUDIT_LOG_NEW_DATA:
			put_document(out, &DatumGetJsonbP(value)->root);
			break;

		case AUDIT_LOG_CHANGED_COLUMNS:
			put_text_array(out, DatumGetArrayTypeP(value));
			break;

		case AUDIT_LOG_IP_ADDRESS:
			put_string(out,
					   DatumGetCString(DirectFunctionCall1(inet_out, value)));
			break;

		case AUDIT_LOG_ERA:
			put_integer(out, DatumGetInt16(value));
			break;

		case AUDIT_LOG_TXID:
			put_integer(out, (int64) U64FromFullTransactionId(
								 DatumGetFullTransactionId(value)));
			break;

		case AUDIT_LOG_CREATED_AT:
			put_time(out, DatumGetTimestampTz(value));
			break;

		case AUDIT_LOG_COLUMNS:
			break;
	}
}

static void
put_text_array(StringInfo out, ArrayType *array)
{
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	appendStringInfoChar(out, 'a');
	pq_sendint32(out, count);
	for (int i = 0; i < count; i++)
		if (nulls[i])
			appendStringInfoChar(out, 'N');
		else
		{
			text *string = DatumGetTextPP(elements[i]);

			put_text(out, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
		}
}

/*
 * A JSON document.  A scalar is kept by the server as an array of one.
 */
static void
put_document(StringInfo out, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbValue value;
	JsonbIteratorToken token;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();

	token = JsonbIteratorNext(&iterator, &value, true);
	if (token == WJB_BEGIN_OBJECT)
	{
		put_object(out, &iterator, value.val.object.nPairs);
		return;
	}

	Assert(token == WJB_BEGIN_ARRAY);
	if (!value.val.array.rawScalar)
	{
		appendStringInfoChar(out, 'a');
		pq_sendint32(out, value.val.array.nElems);
	}
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			put_json_value(out, &value);
}

/*
 * The server orders keys by length; here it is their bytes alone.
 */
static void
put_object(StringInfo out, JsonbIterator **iterator, int count)
{
	Pair *pairs = palloc(sizeof(Pair) * Max(count, 1));
	JsonbValue value;
	JsonbIteratorToken token;
	int n = 0;

	while ((token = JsonbIteratorNext(iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			pairs[n].key = to_utf8(value.val.string.val, value.val.string.len,
								   &pairs[n].length);
		else if (token == WJB_VALUE)
			pairs[n++].value = value;
	}
	qsort(pairs, n, sizeof(Pair), compare_pairs);

	appendStringInfoChar(out, 'o');
	pq_sendint32(out, n);
	for (int i = 0; i < n; i++)
	{
		pq_sendint32(out, pairs[i].length);
		appendBinaryStringInfo(out, pairs[i].key, pairs[i].length);
		put_json_value(out, &pairs[i].value);
	}
}

static void
put_json_value(StringInfo out, const JsonbValue *value)
{
	char *digits;

	switch (value->type)
	{
		case jbvNull:
			appendStringInfoChar(out, 'n');
			break;
		case jbvBool:
			appendStringInfoChar(out, value->val.boolean ? 't' : 'f');
			break;
		case jbvString:
			put_text(out, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			digits = DatumGetCString(DirectFunctionCall1(
				numeric_out, NumericGetDatum(value->val.numeric)));
			put_bytes(out, 'd', digits, strlen(digits));
			break;
		case jbvBinary:
			put_document(out, value->val.binary.data);
			break;
		default:
			elog(ERROR, "unexpected kind of jsonb value: %d", value->type);
	}
}

static int
compare_pairs(const void *a, const void *b)
{
	const Pair *left = a;
	const Pair *right = b;
	int order = memcmp(left->key, right->key, Min(left->length, right->length));

	return order != 0 ? order : left->length - right->length;
}

static void
put_bytes(StringInfo out, char tag, const void *bytes, int length)
{
	appendStringInfoChar(out, tag);
	pq_sendint32(out, length);
	appendBinaryStringInfo(out, bytes, length);
}

/*
 * A string of ASCII characters.
 */
static void
put_string(StringInfo out, const char *text)
{
	put_bytes(out, 's', text, strlen(text));
}

/*
 * A string in the encoding of the database.
 */
static void
put_text(StringInfo out, const char *text, int length)
{
	char *utf8 = to_utf8(text, length, &length);

	put_bytes(out, 's', utf8, length);
}

static void
put_integer(StringInfo out, int64 value)
{
	char digits[32];

	snprintf(digits, sizeof(digits), INT64_FORMAT, value);
	put_string(out, digits);
}

/*
 * Microseconds since 1970, UTC.
 */
static void
put_time(StringInfo out, TimestampTz time)
{
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						SECS_PER_DAY * INT64CONST(1000000);

	put_integer(out, time + epoch);
}

static void
put_bytea(StringInfo out, const bytea *bytes)
{
	if (bytes == NULL)
		appendStringInfoChar(out, 'N');
	else
		put_bytes(out, 's', VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

/*
 * Text of the database as UTF-8; bytes of unknown encoding stay as they are.
 */
static char *
to_utf8(const char *text, int length, int *utf8_length)
{
	char *utf8;

	*utf8_length = length;
	if (length == 0)
		return unconstify(char *, text);

	utf8 = (char *) pg_do_encoding_conversion((unsigned char *) text, length,
											  GetDatabaseEncoding(), PG_UTF8);
	if (utf8 != text)
		*utf8_length = strlen(utf8);

	return utf8;
}
