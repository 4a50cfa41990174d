/*-------------------------------------------------------------------------
 *
 * audit_shape.c
 *		How the rows of a table become records: read from the catalog.
 *
 * The work on each row looks nothing up.  A shape lives in the caller's
 * memory context; audit_known.c keeps it.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/compat.h"

static void name_table(AuditShape *shape, Relation rel, Oid trigger_id);
static Oid topmost_relation(Relation rel, Oid trigger_id);
static void describe_column(AuditColumn *column, Form_pg_attribute attribute,
							ArrayType *redacted, ArrayType *ignored);
static void choose_form(AuditColumn *column);
static void use_to_jsonb(AuditColumn *column);
static bool has_json_cast(Oid type);
static ArrayType *parse_names(const char *literal);
static bool is_listed(ArrayType *names, const char *name);
static int compare_columns(const void *a, const void *b);

/*
 * Make the shape of a table.
 *
 *	trigger_id	the trigger that fired; one that was cloned to a partition
 *				names the table that it was made for
 *	redacted	text[] literal, columns whose values are not kept
 *	ignored		text[] literal, columns whose change alone is no record
 */
AuditShape *
plinth_audit_shape(Relation rel, Oid trigger_id, const char *redacted,
				   const char *ignored)
{
	TupleDesc tupdesc = RelationGetDescr(rel);
	AuditShape *shape = palloc0(sizeof(AuditShape));
	ArrayType *redacted_names = parse_names(redacted);
	ArrayType *ignored_names = parse_names(ignored);
	int *index_of = palloc0(sizeof(int) * (tupdesc->natts + 1));
	int position = 0;

	name_table(shape, rel, trigger_id);

	shape->columns = palloc0(sizeof(AuditColumn) * Max(tupdesc->natts, 1));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);

		/* 'v': a generated column that is computed when read */
		if (attribute->attisdropped || attribute->attgenerated == 'v')
			continue;
		describe_column(&shape->columns[shape->ncolumns++], attribute,
						redacted_names, ignored_names);
	}
	shape->lasts = true;
	for (int i = 0; i < shape->ncolumns; i++)
		if (shape->columns[i].convert.fn_oid >= FirstNormalObjectId)
			shape->lasts = false;
	qsort(shape->columns, shape->ncolumns, sizeof(AuditColumn), compare_columns);

	shape->position = palloc0(sizeof(int) * Max(shape->ncolumns, 1));
	shape->every = palloc0(sizeof(bool) * Max(shape->ncolumns, 1));
	for (int i = 0; i < shape->ncolumns; i++)
	{
		index_of[shape->columns[i].attnum] = i + 1;
		shape->every[i] = true;
	}
	for (int attnum = 1; attnum <= tupdesc->natts; attnum++)
		if (index_of[attnum] > 0)
			shape->position[position++] = index_of[attnum] - 1;
	pfree(index_of);

	plinth_audit_find_key(rel, shape);

	return shape;
}

/*
 * Give the names under which the table's records are found.
 */
static void
name_table(AuditShape *shape, Relation rel, Oid trigger_id)
{
	Oid relid = topmost_relation(rel, trigger_id);

	shape->named_after = relid;
	shape->schema = get_namespace_name(get_rel_namespace(relid));
	shape->table = get_rel_name(relid);
	if (shape->schema == NULL || shape->table == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
}

/*
 * A trigger on a partitioned table is cloned to its partitions.  The records
 * belong to the table that the trigger was made for, or the history of a row
 * would end where it moves to another partition.
 */
static Oid
topmost_relation(Relation rel, Oid trigger_id)
{
	Oid relid = RelationGetRelid(rel);
	Relation catalog;

	if (!rel->rd_rel->relispartition)
		return relid;

	catalog = table_open(TriggerRelationId, AccessShareLock);
	while (OidIsValid(trigger_id))
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple tuple;
		Oid parent = InvalidOid;

		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(trigger_id));
		scan =
			systable_beginscan(catalog, TriggerOidIndexId, true, NULL, 1, &key);
		tuple = systable_getnext(scan);
		if (HeapTupleIsValid(tuple))
		{
			Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

			relid = form->tgrelid;
			parent = form->tgparentid;
		}
		systable_endscan(scan);
		trigger_id = parent;
	}
	table_close(catalog, AccessShareLock);

	return relid;
}

static void
describe_column(AuditColumn *column, Form_pg_attribute attribute,
				ArrayType *redacted, ArrayType *ignored)
{
	column->attnum = attribute->attnum;
	column->name = pstrdup(NameStr(attribute->attname));
	column->name_length = strlen(column->name);
	column->type = getBaseType(attribute->atttypid);
	column->by_value = attribute->attbyval;
	column->length = attribute->attlen;
	column->redacted = is_listed(redacted, column->name);
	column->ignored = is_listed(ignored, column->name);
	choose_form(column);
}

/*
 * Find the way from a type to jsonb.  The result is that of to_jsonb(), but
 * for floats, which are always shortest and exact, and bytea, which is
 * always hexadecimal: a record must not depend on the session's settings.
 */
static void
choose_form(AuditColumn *column)
{
	Oid output;
	bool is_varlena;

	switch (column->type)
	{
		case BOOLOID:
			column->form = AUDIT_BOOL;
			return;
		case INT2OID:
			column->form = AUDIT_INT2;
			return;
		case INT4OID:
			column->form = AUDIT_INT4;
			return;
		case INT8OID:
			column->form = AUDIT_INT8;
			return;
		case FLOAT4OID:
			column->form = AUDIT_FLOAT4;
			return;
		case FLOAT8OID:
			column->form = AUDIT_FLOAT8;
			return;
		case NUMERICOID:
			column->form = AUDIT_NUMERIC;
			return;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			column->form = AUDIT_TEXT;
			return;
		case UUIDOID:
			column->form = AUDIT_UUID;
			return;
		case BYTEAOID:
			column->form = AUDIT_BYTEA;
			return;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			column->form = AUDIT_DATETIME;
			return;
		case JSONBOID:
			column->form = AUDIT_JSONB;
			return;
		case JSONOID:
			column->form = AUDIT_JSON;
			use_to_jsonb(column);
			return;
		default:
			break;
	}

	if (OidIsValid(get_element_type(column->type)) ||
		column->type == RECORDARRAYOID || type_is_rowtype(column->type) ||
		has_json_cast(column->type))
	{
		column->form = AUDIT_TO_JSONB;
		use_to_jsonb(column);
		return;
	}

	column->form = AUDIT_OUTPUT;
	getTypeOutputInfo(column->type, &output, &is_varlena);
	fmgr_info(output, &column->convert);
}

/*
 * Prepare a call of to_jsonb(anyelement), which learns the type of its
 * argument from the expression that calls it.
 */
static void
use_to_jsonb(AuditColumn *column)
{
	Const *argument = makeNullConst(column->type, -1, InvalidOid);
	FuncExpr *call = makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument),
								  InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

	fmgr_info(F_TO_JSONB, &column->convert);
	fmgr_info_set_expr((Node *) call, &column->convert);
}

/*
 * to_jsonb() honours a cast to json, but not of built-in types.
 */
static bool
has_json_cast(Oid type)
{
	Oid function;

	return type >= FirstNormalObjectId &&
		   find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) ==
			   COERCION_PATH_FUNC;
}

/*
 * Read a list of columns from a trigger's argument; NULL when it is empty.
 */
static ArrayType *
parse_names(const char *literal)
{
	Datum names;

	if (literal[0] == '\0' || strcmp(literal, "{}") == 0)
		return NULL;

	names = OidInputFunctionCall(F_ARRAY_IN, unconstify(char *, literal),
								 TEXTOID, -1);

	return DatumGetArrayTypeP(names);
}

static bool
is_listed(ArrayType *names, const char *name)
{
	ArrayIterator iterator;
	Datum element;
	bool is_null;
	bool found = false;

	if (names == NULL)
		return false;

	iterator = array_create_iterator(names, 0, NULL);
	while (!found && array_iterate(iterator, &element, &is_null))
		found = !is_null && strcmp(TextDatumGetCString(element), name) == 0;
	array_free_iterator(iterator);

	return found;
}

/*
 * The order in which jsonb keeps the keys of an object: shorter ones first,
 * and byte by byte among equally long ones.
 */
static int
compare_columns(const void *a, const void *b)
{
	const AuditColumn *left = a;
	const AuditColumn *right = b;

	if (left->name_length != right->name_length)
		return left->name_length < right->name_length ? -1 : 1;
	return memcmp(left->name, right->name, left->name_length);
}
