/*-------------------------------------------------------------------------
 *
 * audit_image.c
 *		The image of a row: a jsonb object of its columns.
 *
 * The server makes jsonb by way of a tree of values, which it sorts, measures
 * and copies.  The columns of a shape are in the order of jsonb already, so an
 * image is written from front to back, in the format that the server keeps:
 *
 *	header		number of pairs
 *	entries		for each key, then for each value, its type and length; every
 *				JB_OFFSET_STRIDE-th has the offset of its end instead
 *	keys		their bytes
 *	values		their bytes; numbers and containers begin at multiples of four
 *
 * Pure over a shape and tuples: no locks, no settings, no clock, and no
 * catalog beyond what an output function reads.  Results are in the current
 * memory context.
 *
 * Source: utils/jsonb.h and convertJsonbObject() of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/detoast.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "base/subtransaction.h"

/* Room for a value when an image is begun; most take less. */
#define VALUE_ROOM 32

/* An image that is being written. */
typedef struct Image
{
	char *bytes; /* a varlena, whose size is set at the end */
	Size used;
	Size size;	/* allocated */
	Size start; /* where keys and values begin */
	int entry;	/* number of the next entry */
} Image;

/* A json document that is being made jsonb. */
typedef struct JsonConversion
{
	FmgrInfo *to_jsonb;
	Datum json;
	Datum document;
} JsonConversion;

static void begin(Image *image, int pairs, Size keys);
static char *reserve(Image *image, Size length);
static void put(Image *image, const void *bytes, Size length);
static void align(Image *image);
static void end_entry(Image *image, uint32 type, Size from);
static Size image_size(const AuditColumn *column, Datum value);
static uint32 put_value(Image *image, const AuditColumn *column, Datum value);
static uint32 put_string(Image *image, const char *string);
static uint32 put_number(Image *image, Numeric number);
static uint32 put_decimal(Image *image, const char *decimal);
static uint32 put_hex(Image *image, Datum value);
static uint32 put_uuid(Image *image, const pg_uuid_t *uuid);
static uint32 put_document(Image *image, Jsonb *document);
static uint32 put_json(Image *image, const AuditColumn *column, Datum value);
static void convert_json(void *arg);
static bool may_not_fit_jsonb(const char *json, int length);

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
	Image image;
	Size room = AUDIT_MAX_IMAGE;
	Size keys = 0;
	int pairs = 0;

	slot_getallattrs(slot);

	for (int i = 0; i < shape->ncolumns; i++)
		if (which[i])
		{
			pairs++;
			keys += shape->columns[i].name_length;
		}

	begin(&image, pairs, keys);

	for (int i = 0; i < shape->ncolumns; i++)
		if (which[i])
		{
			Size from = image.used;

			put(&image, shape->columns[i].name, shape->columns[i].name_length);
			end_entry(&image, JENTRY_ISSTRING, from);
		}

	for (int i = 0; i < shape->ncolumns; i++)
	{
		const AuditColumn *column = &shape->columns[i];
		Datum value = slot->tts_values[column->attnum - 1];
		Size from = image.used;
		Size size;
		uint32 type;

		if (!which[i])
			continue;

		if (slot->tts_isnull[column->attnum - 1])
			type = JENTRY_ISNULL;
		else if (column->redacted)
			type = put_string(&image, AUDIT_REDACTED);
		else if ((size = image_size(column, value)) > room)
			type = put_string(&image,
							  psprintf("[%zu bytes]",
									   toast_raw_datum_size(value) - VARHDRSZ));
		else
		{
			type = put_value(&image, column, value);
			room -= size;
		}
		end_entry(&image, type, from);
	}

	SET_VARSIZE(image.bytes, image.used);

	return (Jsonb *) image.bytes;
}

/*
 * Begin an image of so many pairs with so many bytes of keys.
 */
static void
begin(Image *image, int pairs, Size keys)
{
	uint32 header = (uint32) pairs | JB_FOBJECT;

	image->start = VARHDRSZ + sizeof(uint32) + 2 * sizeof(JEntry) * (Size) pairs;
	image->size = image->start + keys + VALUE_ROOM * (Size) pairs;
	image->bytes = palloc(image->size);
	memcpy(image->bytes + VARHDRSZ, &header, sizeof(header));
	image->used = image->start;
	image->entry = 0;
}

/*
 * Make room for so many bytes more, and say where.
 */
static char *
reserve(Image *image, Size length)
{
	if (image->size - image->used < length)
	{
		image->size = Max(image->size * 2, image->used + length);
		image->bytes = repalloc(image->bytes, image->size);
	}

	return image->bytes + image->used;
}

static void
put(Image *image, const void *bytes, Size length)
{
	memcpy(reserve(image, length), bytes, length);
	image->used += length;
}

/*
 * Go to the next place where a number or a container may begin.  The bytes
 * between belong to the entry.
 */
static void
align(Image *image)
{
	Size gap = INTALIGN(image->used) - image->used;

	memset(reserve(image, gap), 0, gap);
	image->used += gap;
}

/*
 * Note the entry of the key or value that was put.
 */
static void
end_entry(Image *image, uint32 type, Size from)
{
	Size end = image->used - image->start;
	JEntry entry = type | (JEntry) (image->used - from);

	if (end > JENTRY_OFFLENMASK)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the row is too large to be audited"),
						errdetail("The image of a row has at most %d bytes.",
								  JENTRY_OFFLENMASK)));

	if (image->entry % JB_OFFSET_STRIDE == 0)
		entry = type | JENTRY_HAS_OFF | (JEntry) end;
	memcpy(image->bytes + VARHDRSZ + sizeof(uint32) +
			   sizeof(JEntry) * image->entry,
		   &entry, sizeof(entry));
	image->entry++;
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
 * Put a value that is not null; returns the type of its entry.
 */
static uint32
put_value(Image *image, const AuditColumn *column, Datum value)
{
	FmgrInfo *convert = unconstify(FmgrInfo *, &column->convert);
	char decimal[DOUBLE_SHORTEST_DECIMAL_LEN];
	char time[MAXDATELEN + 1];

	switch (column->form)
	{
		case AUDIT_BOOL:
			return DatumGetBool(value) ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		case AUDIT_INT2:
			return put_number(image, int64_to_numeric(DatumGetInt16(value)));
		case AUDIT_INT4:
			return put_number(image, int64_to_numeric(DatumGetInt32(value)));
		case AUDIT_INT8:
			return put_number(image, int64_to_numeric(DatumGetInt64(value)));
		case AUDIT_FLOAT4:
			float_to_shortest_decimal_buf(DatumGetFloat4(value), decimal);
			return put_decimal(image, decimal);
		case AUDIT_FLOAT8:
			double_to_shortest_decimal_buf(DatumGetFloat8(value), decimal);
			return put_decimal(image, decimal);
		case AUDIT_NUMERIC:
		{
			Numeric number = DatumGetNumeric(value);

			if (numeric_is_nan(number) || numeric_is_inf(number))
				return put_string(image,
								  DatumGetCString(DirectFunctionCall1(
									  numeric_out, NumericGetDatum(number))));
			return put_number(image, number);
		}
		case AUDIT_TEXT:
		{
			text *bytes = DatumGetTextPP(value);

			put(image, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
			return JENTRY_ISSTRING;
		}
		case AUDIT_UUID:
			return put_uuid(image, DatumGetUUIDP(value));
		case AUDIT_BYTEA:
			return put_hex(image, value);
		case AUDIT_DATETIME:
			return put_string(
				image, JsonEncodeDateTime(time, value, column->type, NULL));
		case AUDIT_JSONB:
			return put_document(image, DatumGetJsonbP(value));
		case AUDIT_JSON:
			return put_json(image, column, value);
		case AUDIT_OUTPUT:
			return put_string(image, OutputFunctionCall(convert, value));
		case AUDIT_TO_JSONB:
			return put_document(image,
								DatumGetJsonbP(FunctionCall1(convert, value)));
	}

	elog(ERROR, "unexpected form of an audited value: %d", (int) column->form);
}

static uint32
put_string(Image *image, const char *string)
{
	put(image, string, strlen(string));

	return JENTRY_ISSTRING;
}

static uint32
put_number(Image *image, Numeric number)
{
	align(image);
	put(image, number, VARSIZE_ANY(number));

	return JENTRY_ISNUMERIC;
}

/*
 * A float in decimal is a number, but for NaN and the infinities, which JSON
 * does not have: they are strings.
 */
static uint32
put_decimal(Image *image, const char *decimal)
{
	if (strpbrk(decimal, "nN") != NULL)
		return put_string(image, decimal);

	return put_number(image,
					  DatumGetNumeric(DirectFunctionCall3(
						  numeric_in, CStringGetDatum(decimal),
						  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

static uint32
put_hex(Image *image, Datum value)
{
	bytea *bytes = DatumGetByteaPP(value);
	int length = VARSIZE_ANY_EXHDR(bytes);
	char *to = reserve(image, 2 + 2 * (Size) length);

	to[0] = '\\';
	to[1] = 'x';
	hex_encode(VARDATA_ANY(bytes), length, to + 2);
	image->used += 2 + 2 * (Size) length;

	return JENTRY_ISSTRING;
}

/*
 * Lower case digits in groups of 4, 2, 2, 2 and 6 bytes.
 */
static uint32
put_uuid(Image *image, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char *start = reserve(image, 2 * UUID_LEN + 4);
	char *to = start;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[uuid->data[i] >> 4];
		*to++ = digits[uuid->data[i] & 0x0f];
	}
	image->used += to - start;

	return JENTRY_ISSTRING;
}

/*
 * Put a whole jsonb document in the place of a value.  An object or an array
 * is kept inside of a document as it is outside; a scalar is not.
 */
static uint32
put_document(Image *image, Jsonb *document)
{
	JsonbValue scalar;

	if (!JB_ROOT_IS_SCALAR(document))
	{
		align(image);
		put(image, &document->root, VARSIZE(document) - VARHDRSZ);
		return JENTRY_ISCONTAINER;
	}

	if (!JsonbExtractScalar(&document->root, &scalar))
		elog(ERROR, "unexpected jsonb document that is no scalar");
	switch (scalar.type)
	{
		case jbvNull:
			return JENTRY_ISNULL;
		case jbvBool:
			return scalar.val.boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		case jbvNumeric:
			return put_number(image, scalar.val.numeric);
		case jbvString:
			put(image, scalar.val.string.val, scalar.val.string.len);
			return JENTRY_ISSTRING;
		default:
			elog(ERROR, "unexpected jsonb scalar type: %d", (int) scalar.type);
	}
}

/*
 * json holds documents that jsonb refuses, an escaped NUL for one.  That
 * must not keep the row from being written, so such a document is kept as
 * the string that it is.  Only a suspicious one costs a subtransaction.
 */
static uint32
put_json(Image *image, const AuditColumn *column, Datum value)
{
	text *json = DatumGetTextPP(value);
	JsonConversion conversion = {.to_jsonb =
									 unconstify(FmgrInfo *, &column->convert),
								 .json = PointerGetDatum(json)};
	ErrorData *error = NULL;

	if (may_not_fit_jsonb(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json)))
		error = plinth_try(convert_json, &conversion);
	else
		convert_json(&conversion);
	if (error == NULL)
		return put_document(image, DatumGetJsonbP(conversion.document));

	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		ReThrowError(error);

	put(image, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));

	return JENTRY_ISSTRING;
}

static void
convert_json(void *arg)
{
	JsonConversion *conversion = arg;

	conversion->document = FunctionCall1(conversion->to_jsonb, conversion->json);
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
