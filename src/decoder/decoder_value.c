/*-------------------------------------------------------------------------
 *
 * decoder_value.c
 *		A value as JSON, or as the text that becomes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_type.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/json_out.h"
#include "base/subtransaction.h"

/* What text of type json has at most, for jsonb to hold it for certain. */
#define JSON_SAFE_LENGTH 100000
#define JSON_SAFE_DEPTH 500

/* Where a walk through an array stands. */
typedef struct ArrayWalk
{
	const DecoderType *element;
	int ndim;
	const int *dims;
	const char *at;
	const bits8 *nulls; /* NULL: there is none */
	int item;
} ArrayWalk;

static void write_number(StringInfo out, const DecoderType *type, Datum datum);
static void write_quoted(StringInfo out, const DecoderType *type, Datum datum);
static void write_plain(StringInfo out, const DecoderType *type, Datum datum);
static void write_json_text(StringInfo out, Datum datum);
static void write_jsonb(StringInfo out, Datum datum);
static void write_array(StringInfo out, const DecoderType *type, Datum datum);
static void write_dimension(StringInfo out, ArrayWalk *walk, int dimension);
static void write_composite(StringInfo out, const DecoderType *type, Datum datum);
static bool may_not_fit_jsonb(const char *text, int length);
static bool fits_jsonb(char *text);
static void read_jsonb(void *text);

void
plinth_decoder_write_json(StringInfo out, const DecoderType *type, Datum datum)
{
	switch (type->form)
	{
		case DECODER_BOOL:
			if (DatumGetBool(datum))
				appendBinaryStringInfo(out, "true", 4);
			else
				appendBinaryStringInfo(out, "false", 5);
			break;
		case DECODER_INT2:
		case DECODER_INT4:
		case DECODER_INT8:
			write_plain(out, type, datum);
			break;
		case DECODER_FLOAT4:
		case DECODER_FLOAT8:
		case DECODER_NUMERIC:
			write_number(out, type, datum);
			break;
		case DECODER_UUID:
		case DECODER_DATE:
		case DECODER_TIMESTAMP:
		case DECODER_TIMESTAMPTZ:
		case DECODER_BYTEA:
			write_quoted(out, type, datum);
			break;
		case DECODER_TEXT:
		{
			struct varlena *text =
				(struct varlena *) PG_DETOAST_DATUM_PACKED(datum);

			plinth_json_string(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
			break;
		}
		case DECODER_NAME:
		{
			const char *name = NameStr(*DatumGetName(datum));

			plinth_json_string(out, name, strlen(name));
			break;
		}
		case DECODER_OUTPUT:
		{
			char *text = OutputFunctionCall(
				unconstify(FmgrInfo *, &type->function), datum);

			plinth_json_string(out, text, strlen(text));
			break;
		}
		case DECODER_JSON:
		case DECODER_CAST:
			if (type->form == DECODER_CAST)
				datum = FunctionCall1(unconstify(FmgrInfo *, &type->function),
									  datum);
			write_json_text(out, datum);
			break;
		case DECODER_JSONB:
			write_jsonb(out, datum);
			break;
		case DECODER_ARRAY:
			write_array(out, type, datum);
			break;
		case DECODER_COMPOSITE:
			write_composite(out, type, datum);
			break;
	}
}

void
plinth_decoder_write_text(StringInfo out, const DecoderType *type, Datum datum)
{
	switch (type->form)
	{
		case DECODER_BOOL:
			appendStringInfoCharMacro(out, DatumGetBool(datum) ? 't' : 'f');
			break;
		case DECODER_TEXT:
		{
			struct varlena *text =
				(struct varlena *) PG_DETOAST_DATUM_PACKED(datum);

			appendBinaryStringInfo(out, VARDATA_ANY(text),
								   VARSIZE_ANY_EXHDR(text));
			break;
		}
		case DECODER_NAME:
			appendStringInfoString(out, NameStr(*DatumGetName(datum)));
			break;
		case DECODER_OUTPUT:
			appendStringInfoString(
				out, OutputFunctionCall(unconstify(FmgrInfo *, &type->function),
										datum));
			break;
		case DECODER_JSON:
		case DECODER_JSONB:
		case DECODER_ARRAY:
		case DECODER_COMPOSITE:
		case DECODER_CAST:
			plinth_decoder_write_json(out, type, datum);
			break;
		default:
			write_plain(out, type, datum);
			break;
	}
}

/*
 * A number; NaN and the infinities are no JSON numbers, and strings.
 */
static void
write_number(StringInfo out, const DecoderType *type, Datum datum)
{
	int start = out->len;
	char last;

	write_plain(out, type, datum);
	last = out->data[out->len - 1];
	if (unlikely(last < '0' || last > '9'))
	{
		out->len = start;
		write_quoted(out, type, datum);
	}
}

/*
 * Text that needs no escape, but for the backslash that begins a bytea.
 */
static void
write_quoted(StringInfo out, const DecoderType *type, Datum datum)
{
	if (type->form == DECODER_BYTEA)
		appendBinaryStringInfo(out, "\"\\", 2);
	else
		appendStringInfoCharMacro(out, '"');
	write_plain(out, type, datum);
	appendStringInfoCharMacro(out, '"');
}

static void
write_plain(StringInfo out, const DecoderType *type, Datum datum)
{
	switch (type->form)
	{
		case DECODER_INT2:
			out->len += pg_itoa(DatumGetInt16(datum),
								plinth_decoder_reserve(out, MAXINT8LEN + 1));
			break;
		case DECODER_INT4:
			out->len += pg_ltoa(DatumGetInt32(datum),
								plinth_decoder_reserve(out, MAXINT8LEN + 1));
			break;
		case DECODER_INT8:
			out->len += pg_lltoa(DatumGetInt64(datum),
								 plinth_decoder_reserve(out, MAXINT8LEN + 1));
			break;
		case DECODER_FLOAT4:
			out->len += float_to_shortest_decimal_buf(
				DatumGetFloat4(datum),
				plinth_decoder_reserve(out, FLOAT_SHORTEST_DECIMAL_LEN));
			break;
		case DECODER_FLOAT8:
			out->len += double_to_shortest_decimal_buf(
				DatumGetFloat8(datum),
				plinth_decoder_reserve(out, DOUBLE_SHORTEST_DECIMAL_LEN));
			break;
		case DECODER_NUMERIC:
			plinth_decoder_write_numeric(out, datum);
			break;
		case DECODER_UUID:
			plinth_decoder_write_uuid(out, datum);
			break;
		case DECODER_DATE:
			plinth_decoder_write_date(out, datum);
			break;
		case DECODER_TIMESTAMP:
			plinth_decoder_write_timestamp(out, datum, false);
			break;
		case DECODER_TIMESTAMPTZ:
			plinth_decoder_write_timestamp(out, datum, true);
			break;
		case DECODER_BYTEA:
			plinth_decoder_write_bytea(out, datum);
			break;
		default:
			elog(ERROR, "unexpected form %d of type %u", (int) type->form,
				 type->type);
	}
}

/*
 * A value of type json, on one line: line ends stand between its parts only.
 * What jsonb cannot hold is a string.
 */
static void
write_json_text(StringInfo out, Datum datum)
{
	struct varlena *value = (struct varlena *) PG_DETOAST_DATUM_PACKED(datum);
	const char *text = VARDATA_ANY(value);
	int length = VARSIZE_ANY_EXHDR(value);
	char *to;

	if (unlikely(may_not_fit_jsonb(text, length)) &&
		!fits_jsonb(pnstrdup(text, length)))
	{
		plinth_json_string(out, text, length);
		return;
	}

	to = plinth_decoder_reserve(out, length);
	for (int i = 0; i < length; i++)
		to[i] = likely(text[i] != '\n' && text[i] != '\r') ? text[i] : ' ';
	to[length] = '\0';
	out->len += length;
}

static void
write_jsonb(StringInfo out, Datum datum)
{
	Jsonb *value = DatumGetJsonbP(datum);

	(void) JsonbToCString(out, &value->root, VARSIZE(value));
}

static void
write_array(StringInfo out, const DecoderType *type, Datum datum)
{
	ArrayType *array = DatumGetArrayTypeP(datum);
	Size start = ARR_HASNULL(array) ? (Size) array->dataoffset
									: ARR_OVERHEAD_NONULLS(ARR_NDIM(array));
	ArrayWalk walk = {.element = type->parts,
					  .ndim = ARR_NDIM(array),
					  .dims = ARR_DIMS(array),
					  .at = (char *) array + start,
					  .nulls = ARR_NULLBITMAP(array)};

	if (ArrayGetNItems(walk.ndim, walk.dims) <= 0)
		appendBinaryStringInfo(out, "[]", 2);
	else
		write_dimension(out, &walk, 0);
}

static void
write_dimension(StringInfo out, ArrayWalk *walk, int dimension)
{
	const DecoderType *element = walk->element;

	appendStringInfoCharMacro(out, '[');
	for (int i = 0; i < walk->dims[dimension]; i++)
	{
		if (i > 0)
			appendStringInfoCharMacro(out, ',');
		if (dimension + 1 < walk->ndim)
		{
			write_dimension(out, walk, dimension + 1);
			continue;
		}
		if (walk->nulls != NULL && att_isnull(walk->item, walk->nulls))
			appendBinaryStringInfo(out, "null", 4);
		else
		{
			plinth_decoder_write_json(
				out, element,
				fetch_att(walk->at, element->by_value, element->length));
			walk->at = att_addlength_pointer(walk->at, element->length, walk->at);
			walk->at = (const char *) att_align_nominal(walk->at, element->align);
		}
		walk->item++;
		CHECK_FOR_INTERRUPTS();
	}
	appendStringInfoCharMacro(out, ']');
}

static void
write_composite(StringInfo out, const DecoderType *type, Datum datum)
{
	TupleDesc desc = type->desc;
	HeapTupleHeader header = DatumGetHeapTupleHeader(datum);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),
						   .t_data = header};
	Datum *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool *nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	char before = '{';

	heap_deform_tuple(&tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		if (type->keys[i] == NULL)
			continue;
		appendStringInfoCharMacro(out, before);
		before = ',';
		appendStringInfoString(out, type->keys[i]);
		if (nulls[i])
			appendBinaryStringInfo(out, "null", 4);
		else
			plinth_decoder_write_json(out, &type->parts[i], values[i]);
	}
	if (before == '{')
		appendStringInfoCharMacro(out, '{');
	appendStringInfoCharMacro(out, '}');
}

/*
 * Might jsonb refuse this text of type json?  It refuses an escaped zero byte
 * or half of a surrogate pair, a number out of range, and values nested too
 * deeply.
 */
static bool
may_not_fit_jsonb(const char *text, int length)
{
	int brackets = 0;

	if (length > JSON_SAFE_LENGTH)
		return true;
	for (int i = 0; i + 1 < length; i++)
	{
		if (text[i] == '[' || text[i] == '{')
			brackets++;
		else if ((text[i] == '\\' && text[i + 1] == 'u') ||
				 (text[i] >= '0' && text[i] <= '9' &&
				  (text[i + 1] == 'e' || text[i + 1] == 'E')))
			return true;
	}
	return brackets > JSON_SAFE_DEPTH;
}

/*
 * Would jsonb take this text of type json?
 */
static bool
fits_jsonb(char *text)
{
	return plinth_try_unless_told_to_stop(read_jsonb, text) == NULL;
}

static void
read_jsonb(void *text)
{
	(void) DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}
