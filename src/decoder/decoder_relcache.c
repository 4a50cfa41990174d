/*-------------------------------------------------------------------------
 *
 * decoder_relcache.c
 *		What decoding has to know of a table, and when it no longer holds.
 *
 * An entry describes its table as of the transaction that is being decoded,
 * because it is built under that transaction's historic snapshot; decoding
 * replays the invalidations of each catalog change at its place in the WAL,
 * and an entry that one of them names is built anew at the next change.
 *
 * Changes that were handed out point to the description that they were made
 * under.  So a description that no longer holds is set aside, and freed once
 * all changes are (plinth_decoder_relcache_sweep).
 *
 * The process also runs ordinary transactions, and both kinds fill the same
 * system caches, one with the catalogs of the past and one with those of the
 * present.  As long as no catalog change lies between the two, they are the
 * same.  So each invalidation notes how far the WAL went at that moment, and
 * until decoding has passed that place the caches are emptied at each change
 * of sides (plinth_decoder_forget_catalogs).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/names.h"

/* Catalogs whose changes reach no entry by way of its table. */
static const int watched_caches[] = {
	PUBLICATIONOID, PUBLICATIONREL, PUBLICATIONNAMESPACE, NAMESPACEOID, TYPEOID,
	ENUMOID,		PROCOID};

static HTAB *relations = NULL;
static MemoryContext relations_context;
static List *set_aside = NIL;			/* contexts of former descriptions */
static XLogRecPtr catalogs_agree_after; /* InvalidXLogRecPtr: they do */
static bool forgetting = false;

static void build_relation(DecoderRelation *known, Relation relation);
static bool find_publication(DecoderRelation *known, Relation relation,
							 Bitmapset **columns);
static Bitmapset *primary_key_columns(Relation relation);
static void describe(DecoderRelation *known, Relation relation,
					 const Bitmapset *columns);
static WireForm form_of_type(Oid type);
static void forget_relation(Datum arg, Oid relid);
static void forget_all(Datum arg, int cacheid, uint32 hashvalue);

void
plinth_decoder_relcache_init(MemoryContext parent)
{
	HASHCTL info = {0};

	relations_context = AllocSetContextCreate(parent, "plinth decoder tables",
											  ALLOCSET_DEFAULT_SIZES);
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(DecoderRelation);
	info.hcxt = relations_context;
	relations = hash_create("plinth decoder tables", 64, &info,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	for (size_t i = 0; i < lengthof(watched_caches); i++)
		CacheRegisterSyscacheCallback(watched_caches[i], forget_all, (Datum) 0);

	/* what the process has cached so far is of the present */
	catalogs_agree_after = GetXLogInsertRecPtr();
}

/*
 * What is known of a table, as of now in the WAL.  A historic snapshot is
 * active.
 */
DecoderRelation *
plinth_decoder_relation(Relation relation)
{
	Oid relid = RelationGetRelid(relation);
	DecoderRelation *known;
	bool found;

	known = hash_search(relations, &relid, HASH_ENTER, &found);
	if (!found)
	{
		known->valid = false;
		known->context = NULL;
	}
	if (!known->valid)
		build_relation(known, relation);

	return known;
}

/*
 * Free the former descriptions.  No change is left that points to one.
 */
void
plinth_decoder_relcache_sweep(void)
{
	ListCell *cell;

	foreach (cell, set_aside)
		MemoryContextDelete(lfirst(cell));
	list_free(set_aside);
	set_aside = NIL;
}

/*
 * Between decoding and ordinary transactions, in either direction: empty the
 * system caches when those of one side could mislead the other.  Position is
 * where decoding stands.
 */
void
plinth_decoder_forget_catalogs(XLogRecPtr position)
{
	if (XLogRecPtrIsInvalid(catalogs_agree_after))
		return;

	forgetting = true;
	InvalidateSystemCaches();
	forgetting = false;

	if (position >= catalogs_agree_after)
		catalogs_agree_after = InvalidXLogRecPtr;
}

static void
build_relation(DecoderRelation *known, Relation relation)
{
	MemoryContext old_context;
	Bitmapset *columns = NULL;

	if (known->context != NULL)
	{
		old_context = MemoryContextSwitchTo(relations_context);
		set_aside = lappend(set_aside, known->context);
		MemoryContextSwitchTo(old_context);
		known->context = NULL;
	}
	known->wire = NULL;
	known->context = AllocSetContextCreate(
		relations_context, "plinth decoder table", ALLOCSET_SMALL_SIZES);

	/* an invalidation from here on is of what we are about to read */
	known->valid = true;
	old_context = MemoryContextSwitchTo(known->context);
	known->published = find_publication(known, relation, &columns);
	if (known->published)
		describe(known, relation, columns);
	MemoryContextSwitchTo(old_context);
}

/*
 * Is the table published, and what of it?  Columns is NULL for all.
 *
 * What the publication asks for and is not done here is not published at all:
 * a row filter, and the changes of partitions shown as their root's.
 */
static bool
find_publication(DecoderRelation *known, Relation relation, Bitmapset **columns)
{
	Oid relid = RelationGetRelid(relation);
	Oid publication_oid = get_publication_oid(PLINTH_PUBLICATION, true);
	Publication *publication;
	HeapTuple membership;
	bool published;

	if (!OidIsValid(publication_oid) || !is_publishable_relation(relation))
		return false;
	publication = GetPublication(publication_oid);
	known->publishes[WIRE_INSERT] = publication->pubactions.pubinsert;
	known->publishes[WIRE_UPDATE] = publication->pubactions.pubupdate;
	known->publishes[WIRE_DELETE] = publication->pubactions.pubdelete;
	known->publishes[WIRE_TRUNCATE] = publication->pubactions.pubtruncate;

	published =
		publication->alltables ||
		list_member_oid(GetSchemaPublications(RelationGetNamespace(relation)),
						publication_oid);
	if (relation->rd_rel->relispartition)
	{
		List *ancestors = get_partition_ancestors(relid);
		int level;

		if (publication->pubviaroot)
			return false;
		if (OidIsValid(GetTopMostAncestorInPublication(publication_oid,
													   ancestors, &level)))
			published = true;
	}

	membership = SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid),
								 ObjectIdGetDatum(publication_oid));
	if (HeapTupleIsValid(membership))
	{
		Datum list;
		bool no_filter;
		bool no_list;

		(void) SysCacheGetAttr(PUBLICATIONRELMAP, membership,
							   Anum_pg_publication_rel_prqual, &no_filter);
		list = SysCacheGetAttr(PUBLICATIONRELMAP, membership,
							   Anum_pg_publication_rel_prattrs, &no_list);
		published = no_filter;
		if (!no_list)
			*columns = pub_collist_to_bitmapset(NULL, list, CurrentMemoryContext);
		ReleaseSysCache(membership);
	}

	return published;
}

static void
describe(DecoderRelation *known, Relation relation, const Bitmapset *columns)
{
	TupleDesc desc = RelationGetDescr(relation);
	WireRelation *wire = palloc0(sizeof(WireRelation));
	Bitmapset *key = NULL;
	Bitmapset *index_columns;
	int number = -1;

	wire->relid = RelationGetRelid(relation);
	wire->schema = get_namespace_name(RelationGetNamespace(relation));
	wire->table = pstrdup(RelationGetRelationName(relation));
	wire->identity_full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	if (wire->schema == NULL)
		elog(ERROR, "cache lookup failed for schema %u",
			 RelationGetNamespace(relation));

	/* both come with the server's offset for system columns */
	index_columns = wire->identity_full ? primary_key_columns(relation)
										: RelationGetIdentityKeyBitmap(relation);
	while ((number = bms_next_member(index_columns, number)) >= 0)
		key = bms_add_member(key, number + FirstLowInvalidHeapAttributeNumber);
	known->identity = wire->identity_full ? NULL : key;
	wire->layout = plinth_wire_layout(desc);
	for (int i = 0; i < desc->natts && !wire->identity_full; i++)
		if (!bms_is_member(i + 1, key))
			wire->beyond_identity = bms_add_member(wire->beyond_identity, i + 1);

	wire->columns = palloc(sizeof(WireColumn) * Max(desc->natts, 1));
	known->output = palloc(sizeof(FmgrInfo) * Max(desc->natts, 1));
	known->is_varlena = palloc(sizeof(bool) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		WireColumn *column = &wire->columns[wire->ncolumns];
		HeapTuple type;
		Oid output;

		if (attribute->attisdropped || plinth_column_is_virtual(attribute) ||
			(columns != NULL && !bms_is_member(attribute->attnum, columns)))
			continue;

		type = SearchSysCache1(TYPEOID, ObjectIdGetDatum(attribute->atttypid));
		if (!HeapTupleIsValid(type))
			elog(ERROR, "cache lookup failed for type %u", attribute->atttypid);
		column->type_name =
			pstrdup(NameStr(((Form_pg_type) GETSTRUCT(type))->typname));
		ReleaseSysCache(type);
		column->name = pstrdup(NameStr(attribute->attname));
		column->type = attribute->atttypid;
		column->number = attribute->attnum;
		column->form = form_of_type(attribute->atttypid);
		column->in_key = bms_is_member(attribute->attnum, key);
		getTypeOutputInfo(attribute->atttypid, &output,
						  &known->is_varlena[wire->ncolumns]);
		fmgr_info_cxt(output, &known->output[wire->ncolumns], known->context);
		wire->ncolumns++;
	}

	known->wire = wire;
}

/*
 * The columns of the primary key, offset as the server does.  Opens the
 * index without a lock: under a historic snapshot it cannot change.
 */
static Bitmapset *
primary_key_columns(Relation relation)
{
	Oid index_oid = plinth_primary_key_index(relation);
	Bitmapset *columns = NULL;
	Relation index;

	if (!OidIsValid(index_oid))
		return NULL;
	index = RelationIdGetRelation(index_oid);
	if (!RelationIsValid(index))
		elog(ERROR, "could not open relation with OID %u", index_oid);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		columns = bms_add_member(columns, index->rd_index->indkey.values[i] -
											  FirstLowInvalidHeapAttributeNumber);
	RelationClose(index);
	return columns;
}

static WireForm
form_of_type(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return WIRE_FORM_NUMBER;
		case BOOLOID:
			return WIRE_FORM_BOOL;
		case JSONOID:
		case JSONBOID:
			return WIRE_FORM_JSON;
		default:
			return WIRE_FORM_STRING;
	}
}

/*
 * Invalidation of one table, or of all when relid is invalid.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	DecoderRelation *known;

	if (relations == NULL)
		return;
	if (!forgetting)
		catalogs_agree_after = GetXLogInsertRecPtr();

	if (OidIsValid(relid))
	{
		known = hash_search(relations, &relid, HASH_FIND, NULL);
		if (known != NULL)
			known->valid = false;
	}
	else
	{
		HASH_SEQ_STATUS scan;

		hash_seq_init(&scan, relations);
		while ((known = hash_seq_search(&scan)) != NULL)
			known->valid = false;
	}
}

static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_relation(arg, InvalidOid);
}
