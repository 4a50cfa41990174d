/*-------------------------------------------------------------------------
 *
 * decoder_type.c
 *		What to_jsonb() does with a type.
 *
 * Numbers, booleans, json and jsonb are JSON themselves, dates and times are
 * written in ISO 8601, arrays and composite values as arrays and objects, a
 * type of an extension by its cast to json where it has one, and all else as
 * its output function has it, in a string.  Domains are what they are over.
 *
 * A cast to json is used only where it is a function in C: one in SQL or a
 * procedural language might read tables, of which there is no snapshot while
 * the WAL is decoded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_type.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/json_out.h"

static bool form_of_builtin(Oid type, DecoderForm *form);
static void describe_composite(DecoderType *type, DecoderTypeNeeds *needs);
static Oid json_cast(Oid type);
static bool is_in_c(Oid function);

void
plinth_decoder_type(DecoderType *type, Oid oid, DecoderTypeNeeds *needs)
{
	Oid base = getBaseType(oid);
	Oid element;
	Oid function;
	bool is_varlena;

	check_stack_depth();
	memset(type, 0, sizeof(DecoderType));
	type->type = base;
	get_typlenbyvalalign(base, &type->length, &type->by_value, &type->align);

	if (form_of_builtin(base, &type->form))
		return;

	element = get_element_type(base);
	if (OidIsValid(element))
	{
		type->form = DECODER_ARRAY;
		type->parts = palloc(sizeof(DecoderType));
		plinth_decoder_type(type->parts, element, needs);
		return;
	}
	if (type_is_rowtype(base) && base != RECORDOID)
	{
		needs->composite = true;
		describe_composite(type, needs);
		return;
	}

	function = json_cast(base);
	if (OidIsValid(function))
	{
		type->form = DECODER_CAST;
		fmgr_info(function, &type->function);
	}
	else
	{
		getTypeOutputInfo(base, &function, &is_varlena);
		fmgr_info(function, &type->function);
		type->form =
			type->function.fn_addr == textout ? DECODER_TEXT : DECODER_OUTPUT;
	}
	if (type->form != DECODER_TEXT)
	{
		needs->settings = true;
		needs->catalogs = true;
		if (function >= FirstNormalObjectId)
			needs->subtransaction = true;
	}
}

WireForm
plinth_decoder_wire_form(const DecoderType *type)
{
	switch (type->form)
	{
		case DECODER_INT2:
		case DECODER_INT4:
		case DECODER_INT8:
		case DECODER_FLOAT4:
		case DECODER_FLOAT8:
		case DECODER_NUMERIC:
			return WIRE_FORM_NUMBER;
		case DECODER_BOOL:
			return WIRE_FORM_BOOL;
		case DECODER_JSON:
		case DECODER_JSONB:
		case DECODER_ARRAY:
		case DECODER_COMPOSITE:
		case DECODER_CAST:
			return WIRE_FORM_JSON;
		case DECODER_TEXT:
		case DECODER_NAME:
		case DECODER_UUID:
		case DECODER_DATE:
		case DECODER_TIMESTAMP:
		case DECODER_TIMESTAMPTZ:
		case DECODER_BYTEA:
		case DECODER_OUTPUT:
			break;
	}
	return WIRE_FORM_STRING;
}

const char *
plinth_decoder_key(const char *name)
{
	StringInfoData key;

	initStringInfo(&key);
	plinth_json_string(&key, name, strlen(name));
	appendStringInfoCharMacro(&key, ':');
	return key.data;
}

static bool
form_of_builtin(Oid type, DecoderForm *form)
{
	static const struct
	{
		Oid type;
		DecoderForm form;
	} builtin[] = {
		{BOOLOID, DECODER_BOOL},
		{INT2OID, DECODER_INT2},
		{INT4OID, DECODER_INT4},
		{INT8OID, DECODER_INT8},
		{FLOAT4OID, DECODER_FLOAT4},
		{FLOAT8OID, DECODER_FLOAT8},
		{NUMERICOID, DECODER_NUMERIC},
		{TEXTOID, DECODER_TEXT},
		{VARCHAROID, DECODER_TEXT},
		{BPCHAROID, DECODER_TEXT},
		{NAMEOID, DECODER_NAME},
		{UUIDOID, DECODER_UUID},
		{DATEOID, DECODER_DATE},
		{TIMESTAMPOID, DECODER_TIMESTAMP},
		{TIMESTAMPTZOID, DECODER_TIMESTAMPTZ},
		{BYTEAOID, DECODER_BYTEA},
		{JSONOID, DECODER_JSON},
		{JSONBOID, DECODER_JSONB},
	};

	for (size_t i = 0; i < lengthof(builtin); i++)
		if (builtin[i].type == type)
		{
			*form = builtin[i].form;
			return true;
		}
	return false;
}

static void
describe_composite(DecoderType *type, DecoderTypeNeeds *needs)
{
	TupleDesc desc = lookup_rowtype_tupdesc(type->type, -1);

	type->form = DECODER_COMPOSITE;
	type->desc = CreateTupleDescCopy(desc);
	ReleaseTupleDesc(desc);
	desc = type->desc;

	type->parts = palloc0(sizeof(DecoderType) * Max(desc->natts, 1));
	type->keys = palloc0(sizeof(char *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped)
			continue;
		type->keys[i] = plinth_decoder_key(NameStr(attribute->attname));
		plinth_decoder_type(&type->parts[i], attribute->atttypid, needs);
	}
}

/*
 * The function in C by which a type that is not built in is cast to json, or
 * InvalidOid.
 */
static Oid
json_cast(Oid type)
{
	Oid function;

	if (type < FirstNormalObjectId ||
		find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) !=
			COERCION_PATH_FUNC ||
		!is_in_c(function))
		return InvalidOid;
	return function;
}

static bool
is_in_c(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool in_c;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	in_c = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId ||
		   ((Form_pg_proc) GETSTRUCT(tuple))->prolang == INTERNALlanguageId;
	ReleaseSysCache(tuple);
	return in_c;
}
