/*-------------------------------------------------------------------------
 *
 * audit_known.c
 *		Shapes that this backend has made, for the statements to come.
 *
 * A statement that changes one row spends more on learning the table's shape
 * than on the record.  So shapes are kept, one for each trigger, until the
 * table, the table that it is named after, a schema or a cast changes.
 *
 * An invalidation only marks a shape: somebody further up the stack may be
 * using it.  It is given to the transaction, and goes with it, when the next
 * shape is made.
 *
 * A shape that calls functions other than the server's own is not kept: it
 * would have to go when they change, and with what they keep between calls.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct KnownShape
{
	Oid trigger; /* hash key - MUST BE FIRST */
	Oid relid;	 /* the table that it is of */
	bool stale;
	AuditShape *shape; /* in a context of its own */
	MemoryContext context;
} KnownShape;

/* Shapes by trigger; NULL until the first one is made. */
static HTAB *known = NULL;

/* Counts invalidations, to see one that comes while a shape is made. */
static uint64 invalidations = 0;

static void begin_to_know(void);
static void let_go_of_stale(void);
static void keep(Oid trigger, Oid relid, AuditShape *shape,
				 MemoryContext context);
static void forget_relation(Datum arg, Oid relid);
static void forget_all(Datum arg, int cache, uint32 hash);

/*
 * The shape of a table, as a trigger sees it.  It lasts as long as the
 * current memory context or the transaction, whichever ends first.
 */
const AuditShape *
plinth_audit_shape_of(Relation rel, const Trigger *trigger)
{
	MemoryContext context;
	MemoryContext caller;
	KnownShape *entry;
	AuditShape *shape;
	uint64 before;

	if (known == NULL)
		begin_to_know();

	entry = hash_search(known, &trigger->tgoid, HASH_FIND, NULL);
	if (entry != NULL && !entry->stale && entry->relid == RelationGetRelid(rel))
		return entry->shape;

	let_go_of_stale();

	before = invalidations;
	context = AllocSetContextCreate(CurrentMemoryContext, "plinth audit shape",
									ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	shape = plinth_audit_shape(rel, trigger->tgoid,
							   trigger->tgnargs > 0 ? trigger->tgargs[0] : "",
							   trigger->tgnargs > 1 ? trigger->tgargs[1] : "");
	MemoryContextSwitchTo(caller);

	if (shape->lasts && before == invalidations)
		keep(trigger->tgoid, RelationGetRelid(rel), shape, context);

	return shape;
}

static void
begin_to_know(void)
{
	HASHCTL control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(KnownShape),
		.hcxt = CacheMemoryContext,
	};

	known = hash_create("plinth audit shapes", 32, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(CASTSOURCETARGET, forget_all, (Datum) 0);
}

/*
 * Give what is stale to the transaction.
 */
static void
let_go_of_stale(void)
{
	HASH_SEQ_STATUS scan;
	KnownShape *entry;

	hash_seq_init(&scan, known);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->stale)
		{
			MemoryContextSetParent(entry->context, TopTransactionContext);
			hash_search(known, &entry->trigger, HASH_REMOVE, NULL);
		}
}

static void
keep(Oid trigger, Oid relid, AuditShape *shape, MemoryContext context)
{
	bool found;
	KnownShape *entry = hash_search(known, &trigger, HASH_ENTER, &found);

	/* made meanwhile, by a statement inside of this one */
	if (found)
		return;

	entry->relid = relid;
	entry->stale = false;
	entry->shape = shape;
	entry->context = context;
	MemoryContextSetParent(context, CacheMemoryContext);
}

/*
 * A table has changed, or any may have.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	KnownShape *entry;

	invalidations++;
	hash_seq_init(&scan, known);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!OidIsValid(relid) || entry->relid == relid ||
			entry->shape->named_after == relid)
			entry->stale = true;
}

/*
 * A schema may have another name, or a type another way to become json.
 */
static void
forget_all(Datum arg, int cache, uint32 hash)
{
	forget_relation(arg, InvalidOid);
}
