/*-------------------------------------------------------------------------
 *
 * audit_row.c
 *		Row to record, and what an UPDATE changed.
 *
 * Pure over a shape and tuples: no locks, no settings, no clock, and no
 * catalog beyond what an output function reads.  Results are in the current
 * memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include <math.h>

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/resowner.h"

#include "base/compat.h"

static Size image_size(const AuditColumn *column, Datum value);
static void value_to_json(const AuditColumn *column, Datum value,
						  JsonbValue *result);
static void set_string(JsonbValue *result, char *string, int length);
static void set_number(JsonbValue *result, Numeric number);
static void set_decimal(JsonbValue *result, char *decimal);
static void set_hex(JsonbValue *result, Datum value);
static void embed(JsonbValue *result, Jsonb *document);
static void embed_json(const AuditColumn *column, Datum value,
					   JsonbValue *result);
static bool may_not_fit_jsonb(const char *json, int length);
static bool same_value(const AuditColumn *column, Datum a, Datum b);

/*
 * Make the image of a row: one member for each column that is wanted.
 *
 *	which	says for each of the shape's columns whether it is wanted
 *
 * The value of a redacted column is replaced, unless it is null.  Values
 * that would make the image longer than AUDIT_MAX_IMAGE are named by their
 * size, so that no row is too large to be audited.
 */
Jsonb *
plinth_audit_image(const AuditShape *shape, TupleTableSlot *slot,
				   const bool *which)
{
	JsonbValue object = {.type = jbvObject};
	JsonbPair *pair;
	Size room = AUDIT_MAX_IMAGE;

	slot_getallattrs(slot);

	pair = palloc(sizeof(JsonbPair) * Max(shape->ncolumns, 1));
	object.val.object.pairs = pair;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		const AuditColumn *column = &shape->columns[i];
		Datum value = slot->tts_values[column->attnum - 1];
		Size size = 0;

		if (!which[i])
			continue;

		set_string(&pair->key, unconstify(char *, column->name),
				   column->name_length);
		pair->order = object.val.object.nPairs;

		if (slot->tts_isnull[column->attnum - 1])
			pair->value.type = jbvNull;
		else if (column->redacted)
			set_string(&pair->value, AUDIT_REDACTED, strlen(AUDIT_REDACTED));
		else if ((size = image_size(column, value)) > room)
		{
			char *note =
				psprintf("[%zu bytes]", toast_raw_datum_size(value) - VARHDRSZ);

			set_string(&pair->value, note, strlen(note));
		}
		else
		{
			value_to_json(column, value, &pair->value);
			room -= size;
		}

		pair++;
		object.val.object.nPairs++;
	}

	return JsonbValueToJsonb(&object);
}

/*
 * Find the columns in which two versions of a row differ, the ignored ones
 * left out.  Returns whether there are any.
 *
 * Values are compared byte by byte, as they would be shown: 1.0 and 1.00 are
 * different here.
 */
bool
plinth_audit_changes(const AuditShape *shape, TupleTableSlot *before,
					 TupleTableSlot *after, bool *changed)
{
	bool any = false;

	slot_getallattrs(before);
	slot_getallattrs(after);

	for (int i = 0; i < shape->ncolumns; i++)
	{
		const AuditColumn *column = &shape->columns[i];
		int at = column->attnum - 1;

		if (column->ignored)
			changed[i] = false;
		else if (before->tts_isnull[at] || after->tts_isnull[at])
			changed[i] = before->tts_isnull[at] != after->tts_isnull[at];
		else
			changed[i] = !same_value(column, before->tts_values[at],
									 after->tts_values[at]);
		any = any || changed[i];
	}

	return any;
}

/*
 * Names of some columns, in the order of the table, as text[].
 */
ArrayType *
plinth_audit_names(const AuditShape *shape, const bool *which)
{
	Datum *names = palloc(sizeof(Datum) * Max(shape->ncolumns, 1));
	int n = 0;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		int at = shape->position[i];

		if (which[at])
			names[n++] = PointerGetDatum(cstring_to_text_with_len(
				shape->columns[at].name, shape->columns[at].name_length));
	}

	return construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * How much of an image's room a value takes, roughly: its size, and for what
 * becomes a tree of many small values that of the tree in memory.  Values of
 * fixed length are not worth counting.
 */
static Size
image_size(const AuditColumn *column, Datum value)
{
	Size size;

	if (column->length != -1)
		return 0;

	size = toast_raw_datum_size(value);
	switch (column->form)
	{
		case AUDIT_JSON:
		case AUDIT_TO_JSONB:
			return size * 8;
		case AUDIT_JSONB:
		case AUDIT_BYTEA:
			return size * 2;
		default:
			return size;
	}
}

/*
 * Turn a value that is not null into jsonb.
 */
static void
value_to_json(const AuditColumn *column, Datum value, JsonbValue *result)
{
	char *string;

	switch (column->form)
	{
		case AUDIT_BOOL:
			result->type = jbvBool;
			result->val.boolean = DatumGetBool(value);
			break;
		case AUDIT_INT2:
			set_number(result, int64_to_numeric(DatumGetInt16(value)));
			break;
		case AUDIT_INT4:
			set_number(result, int64_to_numeric(DatumGetInt32(value)));
			break;
		case AUDIT_INT8:
			set_number(result, int64_to_numeric(DatumGetInt64(value)));
			break;
		case AUDIT_FLOAT4:
			string = palloc(FLOAT_SHORTEST_DECIMAL_LEN);
			float_to_shortest_decimal_buf(DatumGetFloat4(value), string);
			set_decimal(result, string);
			break;
		case AUDIT_FLOAT8:
			string = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);
			double_to_shortest_decimal_buf(DatumGetFloat8(value), string);
			set_decimal(result, string);
			break;
		case AUDIT_NUMERIC:
		{
			Numeric number = DatumGetNumeric(value);

			if (numeric_is_nan(number) || numeric_is_inf(number))
			{
				string = DatumGetCString(
					DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
				set_string(result, string, strlen(string));
			}
			else
				set_number(result, number);
			break;
		}
		case AUDIT_TEXT:
		{
			text *bytes = DatumGetTextPP(value);

			set_string(result, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
			break;
		}
		case AUDIT_BYTEA:
			set_hex(result, value);
			break;
		case AUDIT_DATETIME:
			string = JsonEncodeDateTime(NULL, value, column->type, NULL);
			set_string(result, string, strlen(string));
			break;
		case AUDIT_JSONB:
			embed(result, DatumGetJsonbP(value));
			break;
		case AUDIT_JSON:
			embed_json(column, value, result);
			break;
		case AUDIT_OUTPUT:
			string = OutputFunctionCall(unconstify(FmgrInfo *, &column->convert),
										value);
			set_string(result, string, strlen(string));
			break;
		case AUDIT_TO_JSONB:
			embed(result, DatumGetJsonbP(FunctionCall1(
							  unconstify(FmgrInfo *, &column->convert), value)));
			break;
	}
}

static void
set_string(JsonbValue *result, char *string, int length)
{
	result->type = jbvString;
	result->val.string.val = string;
	result->val.string.len = length;
}

static void
set_number(JsonbValue *result, Numeric number)
{
	result->type = jbvNumeric;
	result->val.numeric = number;
}

/*
 * A float in decimal is a number, but for NaN and the infinities, which JSON
 * does not have: they are strings.
 */
static void
set_decimal(JsonbValue *result, char *decimal)
{
	if (strpbrk(decimal, "nN") != NULL)
		set_string(result, decimal, strlen(decimal));
	else
		set_number(result, DatumGetNumeric(DirectFunctionCall3(
							   numeric_in, CStringGetDatum(decimal),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

static void
set_hex(JsonbValue *result, Datum value)
{
	bytea *bytes = DatumGetByteaPP(value);
	int length = VARSIZE_ANY_EXHDR(bytes);
	char *string = palloc(2 + 2 * (Size) length);

	string[0] = '\\';
	string[1] = 'x';
	hex_encode(VARDATA_ANY(bytes), length, string + 2);
	set_string(result, string, 2 + 2 * length);
}

/*
 * Put a whole jsonb document in the place of a value.
 */
static void
embed(JsonbValue *result, Jsonb *document)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbParseState *state = NULL;
	JsonbValue item;
	JsonbValue *whole = NULL;

	if (JB_ROOT_IS_SCALAR(document))
	{
		if (!JsonbExtractScalar(&document->root, result))
			elog(ERROR, "unexpected jsonb document that is no scalar");
		return;
	}

	iterator = JsonbIteratorInit(&document->root);
	while ((token = JsonbIteratorNext(&iterator, &item, false)) != WJB_DONE)
		whole = pushJsonbValue(&state, token,
							   token < WJB_BEGIN_ARRAY ? &item : NULL);
	*result = *whole;
}

/*
 * json holds documents that jsonb refuses, an escaped NUL for one.  That
 * must not keep the row from being written, so such a document is kept as
 * the string that it is.  Only a suspicious one costs a subtransaction.
 */
static void
embed_json(const AuditColumn *column, Datum value, JsonbValue *result)
{
	FmgrInfo *to_jsonb = unconstify(FmgrInfo *, &column->convert);
	text *json = DatumGetTextPP(value);
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Datum volatile document = (Datum) 0;

	if (!may_not_fit_jsonb(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json)))
	{
		embed(result,
			  DatumGetJsonbP(FunctionCall1(to_jsonb, PointerGetDatum(json))));
		return;
	}

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		document = FunctionCall1(to_jsonb, PointerGetDatum(json));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
				ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (document != (Datum) 0)
		embed(result, DatumGetJsonbP(document));
	else
		set_string(result, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
}

/*
 * Whether a valid json document might be refused by jsonb: it has an escaped
 * code point, which may be NUL, half a surrogate pair or outside of the
 * server's encoding, or a number with an exponent, which may be out of range.
 */
static bool
may_not_fit_jsonb(const char *json, int length)
{
	for (int i = 1; i < length; i++)
	{
		if (json[i - 1] == '\\' && json[i] == 'u')
			return true;
		if ((json[i] == 'e' || json[i] == 'E') && json[i - 1] >= '0' &&
			json[i - 1] <= '9')
			return true;
	}

	return false;
}

/*
 * Whether two values are the same, byte by byte.  A value that was moved out
 * of the row and not touched is the same stored value, which need not be
 * fetched to see it.
 */
static bool
same_value(const AuditColumn *column, Datum a, Datum b)
{
	if (column->length == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a)) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b),
			   VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
		return true;

	return datum_image_eq(a, b, column->by_value, column->length);
}
