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
 * all changes are that were read before (plinth_decoder_relcache_sweep).
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
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"

/* A description that no longer holds. */
typedef struct SetAside
{
	MemoryContext context;
	Size memory;
	XLogRecPtr position; /* it is of commits before it */
} SetAside;

/* Catalogs whose changes reach no entry by way of its table. */
static const int watched_caches[] = {
	PUBLICATIONOID, PUBLICATIONREL, PUBLICATIONNAMESPACE, NAMESPACEOID, TYPEOID,
	ENUMOID,		PROCOID,		CASTSOURCETARGET};

static const DecoderScope *scope = NULL;
static HTAB *relations = NULL; /* NULL: nothing is decoded in this process */
static MemoryContext relations_context;
static List *set_aside = NIL; /* SetAside, oldest first */
static Size set_aside_memory = 0;
static DecoderRelation *last = NULL;	/* that was asked for */
static XLogRecPtr catalogs_agree_after; /* InvalidXLogRecPtr: they do */
static bool forgetting = false;

static void close_cache(void *arg);
static void build_relation(DecoderRelation *known, Relation relation);
static void put_aside(MemoryContext context);
static XLogRecPtr read_position(void);
static void note_break(DecoderRelation *known, bool was_published,
					   Oid was_shown_as);
static void describe(DecoderRelation *known, Relation relation, Relation shown,
					 const DecoderPublished *published);
static void describe_column(DecoderRelation *known, WireColumn *wire,
							DecoderColumn *column, Form_pg_attribute attribute);
static Bitmapset *key_columns(Relation relation, const AttrMap *map);
static Bitmapset *primary_key_columns(Relation relation);
static void make_room(DecoderRelation *known, int natts);
static void forget_relation(Datum arg, Oid relid);
static void forget_all(Datum arg, int cacheid, uint32 hashvalue);

void
plinth_decoder_relcache_init(MemoryContext parent, const DecoderScope *of)
{
	static bool registered = false;
	static MemoryContextCallback closing = {.func = close_cache};
	HASHCTL info = {0};

	/* left by a call that failed a moment ago */
	if (relations != NULL)
		MemoryContextDelete(relations_context);

	relations_context = AllocSetContextCreate(parent, "plinth decoder tables",
											  ALLOCSET_DEFAULT_SIZES);
	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(DecoderRelation);
	info.hcxt = relations_context;
	relations = hash_create("plinth decoder tables", 64, &info,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContextRegisterResetCallback(relations_context, &closing);
	scope = of;

	/* callbacks cannot be taken back, and there is room for few */
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		for (size_t i = 0; i < lengthof(watched_caches); i++)
			CacheRegisterSyscacheCallback(watched_caches[i], forget_all,
										  (Datum) 0);
		registered = true;
	}

	/* what the process has cached so far is of the present */
	catalogs_agree_after = GetXLogInsertRecPtr();
}

static void
close_cache(void *arg)
{
	relations = NULL;
	last = NULL;
	set_aside = NIL;
	set_aside_memory = 0;
	scope = NULL;
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

	if (last != NULL && last->relid == relid && last->valid)
		return last;

	known = hash_search(relations, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) known + sizeof(Oid), 0,
			   sizeof(DecoderRelation) - sizeof(Oid));
	}
	if (!known->valid)
		build_relation(known, relation);

	last = known;
	return known;
}

/*
 * Free former descriptions.  No change is left of a commit before the
 * position.
 */
void
plinth_decoder_relcache_sweep(XLogRecPtr position)
{
	while (set_aside != NIL)
	{
		SetAside *former = linitial(set_aside);

		if (former->position > position)
			break;
		set_aside_memory -= former->memory;
		MemoryContextDelete(former->context);
		set_aside = list_delete_first(set_aside);
	}
}

/*
 * Bytes that former descriptions hold.
 */
Size
plinth_decoder_relcache_set_aside(void)
{
	return set_aside_memory;
}

/*
 * No change of a table was thrown away, nor made without what is wanted, in a
 * commit from this position on.
 */
XLogRecPtr
plinth_decoder_relation_kept_from(Oid relid, int wanted)
{
	XLogRecPtr from = InvalidXLogRecPtr;
	HASH_SEQ_STATUS scan;
	DecoderRelation *known;

	hash_seq_init(&scan, relations);
	while ((known = hash_seq_search(&scan)) != NULL)
	{
		if (known->relid != relid && known->shown_as != relid)
			continue;
		from = Max(from, known->missed_upto);
		if (wanted & WIRE_TUPLES)
			from = Max(from, known->text_upto);
	}
	return from;
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
	DecoderRelation former = *known;
	DecoderPublished published;
	MemoryContext old_context;
	Relation shown = relation;

	if (former.context != NULL)
		put_aside(former.context);
	memset((char *) known + sizeof(Oid), 0,
		   sizeof(DecoderRelation) - sizeof(Oid));
	known->missed_upto = former.missed_upto;
	known->text_upto = former.text_upto;
	known->context = AllocSetContextCreate(
		relations_context, "plinth decoder table", ALLOCSET_SMALL_SIZES);

	/* an invalidation from here on is of what we are about to read */
	known->valid = true;
	old_context = MemoryContextSwitchTo(known->context);
	known->published = plinth_decoder_published(scope, relation, &published);
	memcpy(known->publishes, published.publishes, sizeof(known->publishes));
	known->shown_as = published.shown_as;
	if (former.context != NULL)
		note_break(known, former.published, former.shown_as);
	if (known->published)
	{
		if (known->shown_as != known->relid)
		{
			shown = RelationIdGetRelation(known->shown_as);
			if (!RelationIsValid(shown))
				elog(ERROR, "could not open relation with OID %u",
					 known->shown_as);
		}
		describe(known, relation, shown, &published);
		if (shown != relation)
			RelationClose(shown);
	}
	MemoryContextSwitchTo(old_context);
}

static void
put_aside(MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(relations_context);
	SetAside *former =
		MemoryContextAlloc(context, sizeof(SetAside)); /* goes with it */

	former->context = context;
	former->memory = MemoryContextMemAllocated(context, true);
	former->position = read_position();
	set_aside = lappend(set_aside, former);
	set_aside_memory += former->memory;
	MemoryContextSwitchTo(old_context);
}

/*
 * Changes that were not published, or as those of another table, were thrown
 * away or are not found among the table's.
 */
static void
note_break(DecoderRelation *known, bool was_published, Oid was_shown_as)
{
	if (known->published != was_published || known->shown_as != was_shown_as)
		known->missed_upto = read_position();
}

/*
 * How far the reader of this process has read; of other slots nothing is kept.
 */
static XLogRecPtr
read_position(void)
{
	if (plinth_decoder_reader == NULL || plinth_decoder_reader->opening)
		return InvalidXLogRecPtr;
	return plinth_decoder_read_up_to(plinth_decoder_reader);
}

/*
 * Describe a table as the one that its changes are shown as.
 */
static void
describe(DecoderRelation *known, Relation relation, Relation shown,
		 const DecoderPublished *published)
{
	TupleDesc desc = RelationGetDescr(shown);
	WireRelation *wire = palloc0(sizeof(WireRelation));
	Bitmapset *key;

	if (shown != relation)
		known->map = plinth_build_attrmap(RelationGetDescr(relation), desc);
	if (known->map != NULL)
		known->desc = CreateTupleDescCopy(desc);

	wire->relid = RelationGetRelid(shown);
	wire->schema = get_namespace_name(RelationGetNamespace(shown));
	wire->table = pstrdup(RelationGetRelationName(shown));
	wire->identity_full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	if (wire->schema == NULL)
		elog(ERROR, "cache lookup failed for schema %u",
			 RelationGetNamespace(shown));

	key = key_columns(relation, known->map);
	wire->layout = plinth_wire_layout(desc);
	for (int i = 0; i < desc->natts && !wire->identity_full; i++)
		if (!bms_is_member(i + 1, key))
			wire->beyond_identity = bms_add_member(wire->beyond_identity, i + 1);

	wire->columns = palloc(sizeof(WireColumn) * Max(desc->natts, 1));
	known->columns = palloc(sizeof(DecoderColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || plinth_column_is_virtual(attribute) ||
			(published->has_columns &&
			 !bms_is_member(attribute->attnum, published->columns)))
			continue;

		wire->columns[wire->ncolumns].in_key =
			bms_is_member(attribute->attnum, key);
		known->columns[wire->ncolumns].in_old =
			wire->identity_full || bms_is_member(attribute->attnum, key);
		describe_column(known, &wire->columns[wire->ncolumns],
						&known->columns[wire->ncolumns], attribute);
		wire->ncolumns++;
	}

	make_room(known, desc->natts);
	known->filter = plinth_decoder_filter(published, desc);
	if (known->filter != NULL)
		known->needs.subtransaction = true;
	known->wire = wire;
}

static void
describe_column(DecoderRelation *known, WireColumn *wire, DecoderColumn *column,
				Form_pg_attribute attribute)
{
	HeapTuple type =
		SearchSysCache1(TYPEOID, ObjectIdGetDatum(attribute->atttypid));
	DecoderTypeNeeds needs = {0};

	if (!HeapTupleIsValid(type))
		elog(ERROR, "cache lookup failed for type %u", attribute->atttypid);
	wire->type_name = pstrdup(NameStr(((Form_pg_type) GETSTRUCT(type))->typname));
	ReleaseSysCache(type);
	wire->name = pstrdup(NameStr(attribute->attname));
	wire->type = attribute->atttypid;
	wire->number = attribute->attnum;

	column->number = attribute->attnum;
	column->is_varlena = attribute->attlen == -1;
	column->key = psprintf(",%s", plinth_decoder_key(wire->name));
	column->key_length = strlen(column->key);
	column->by_value = attribute->attbyval;
	column->length = attribute->attlen;
	plinth_decoder_type(&column->type, attribute->atttypid, &needs);
	column->at_once = needs.catalogs;
	known->needs.subtransaction |= needs.subtransaction;
	known->needs.settings |= needs.settings;
	known->needs.composite |= needs.composite;

	wire->form = plinth_decoder_wire_form(&column->type);
	wire->write_text = plinth_decoder_write_column_text;
	wire->write_json = plinth_decoder_write_column_json;
	wire->writes_as = &column->type;
}

/*
 * The columns of the replica identity by their numbers in the table that is
 * shown; of the primary key, if there is one, where the identity is the whole
 * row.
 */
static Bitmapset *
key_columns(Relation relation, const AttrMap *map)
{
	Bitmapset *own;
	Bitmapset *key = NULL;
	int number = -1;

	/* both come with the server's offset for system columns */
	own = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL
			  ? primary_key_columns(relation)
			  : RelationGetIdentityKeyBitmap(relation);

	if (map != NULL)
	{
		for (int i = 0; i < map->maplen; i++)
			if (map->attnums[i] != 0 &&
				bms_is_member(
					map->attnums[i] - FirstLowInvalidHeapAttributeNumber, own))
				key = bms_add_member(key, i + 1);
		return key;
	}
	while ((number = bms_next_member(own, number)) >= 0)
		key = bms_add_member(key, number + FirstLowInvalidHeapAttributeNumber);
	return key;
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

static void
make_room(DecoderRelation *known, int natts)
{
	natts = Max(natts, 1);
	known->rows.old_values = palloc(sizeof(Datum) * natts);
	known->rows.old_nulls = palloc(sizeof(bool) * natts);
	known->rows.new_values = palloc(sizeof(Datum) * natts);
	known->rows.new_nulls = palloc(sizeof(bool) * natts);
}

/*
 * Invalidation of one table, or of all when relid is invalid.  A composite
 * type has a relid, too, and it may be the type of a column.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	DecoderRelation *known;

	if (relations == NULL)
		return;
	if (!forgetting)
		catalogs_agree_after = GetXLogInsertRecPtr();

	hash_seq_init(&scan, relations);
	while ((known = hash_seq_search(&scan)) != NULL)
		if (!OidIsValid(relid) || known->relid == relid ||
			known->shown_as == relid || known->needs.composite)
			known->valid = false;
}

static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_relation(arg, InvalidOid);
}
