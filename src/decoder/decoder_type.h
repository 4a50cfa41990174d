/*-------------------------------------------------------------------------
 *
 * decoder_type.h
 *		How the values of a type become text: to_jsonb()'s rendering.
 *
 * What to_jsonb() does with a type is found out once, under the historic
 * snapshot of a change (plinth_decoder_type); turning values into text then
 * asks no catalog, but where an output function itself does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_DECODER_TYPE_H
#define PLINTH_DECODER_TYPE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

#include "wire/wire.h"

typedef enum DecoderForm
{
	DECODER_BOOL,
	DECODER_INT2,
	DECODER_INT4,
	DECODER_INT8,
	DECODER_FLOAT4,
	DECODER_FLOAT8,
	DECODER_NUMERIC,
	DECODER_TEXT, /* the bytes of a varlena are the text */
	DECODER_NAME,
	DECODER_UUID,
	DECODER_DATE,
	DECODER_TIMESTAMP,
	DECODER_TIMESTAMPTZ,
	DECODER_BYTEA,
	DECODER_JSON,
	DECODER_JSONB,
	DECODER_ARRAY,
	DECODER_COMPOSITE,
	DECODER_CAST,  /* by its cast to json, a function in C */
	DECODER_OUTPUT /* as the output function writes it */
} DecoderForm;

/* A type, domains looked through.  Lives where it was made. */
typedef struct DecoderType
{
	DecoderForm form;
	Oid type;
	int16 length; /* as in pg_type */
	bool by_value;
	char align;
	FmgrInfo function;		   /* DECODER_CAST, DECODER_OUTPUT */
	struct DecoderType *parts; /* of an array's element; of each attribute */
	TupleDesc desc;			   /* DECODER_COMPOSITE */
	const char **keys; /* DECODER_COMPOSITE: "name": of each attribute */
} DecoderType;

/* What a type's values ask of those who turn them into text. */
typedef struct DecoderTypeNeeds
{
	bool subtransaction; /* code is called that is not the server's own */
	bool settings;		 /* its text depends on settings of the session */
	bool composite;		 /* it holds a composite type, which may change */
	bool catalogs;		 /* of the moment: its text cannot be made later */
} DecoderTypeNeeds;

/*
 * Describe a type in the current memory context; adds to needs what its
 * values need.
 */
extern void plinth_decoder_type(DecoderType *type, Oid oid,
								DecoderTypeNeeds *needs);

/* How the text of plinth_decoder_write_text() becomes JSON. */
extern WireForm plinth_decoder_wire_form(const DecoderType *type);

/* A name, quoted and escaped, and its colon; in the current context. */
extern const char *plinth_decoder_key(const char *name);

/*
 * Append a value as JSON, or as the text that its wire form says how to turn
 * into JSON.  What else is needed is left in the current memory context.
 * JSON is one line, whatever the value has in it.
 */
extern void plinth_decoder_write_json(StringInfo out, const DecoderType *type,
									  Datum datum);
extern void plinth_decoder_write_text(StringInfo out, const DecoderType *type,
									  Datum datum);

/* decoder_scalar.c: digits and the like, without quotes. */
extern void plinth_decoder_write_numeric(StringInfo out, Datum datum);
extern void plinth_decoder_write_uuid(StringInfo out, Datum datum);
extern void plinth_decoder_write_date(StringInfo out, Datum datum);
extern void plinth_decoder_write_timestamp(StringInfo out, Datum datum,
										   bool with_zone);
extern void plinth_decoder_write_bytea(StringInfo out, Datum datum);

/* Room for that many bytes more, and where they go. */
static inline char *
plinth_decoder_reserve(StringInfo out, int bytes)
{
	if (unlikely(out->maxlen - out->len <= bytes))
		enlargeStringInfo(out, bytes);
	return out->data + out->len;
}

#endif /* PLINTH_DECODER_TYPE_H */
