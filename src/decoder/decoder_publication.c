/*-------------------------------------------------------------------------
 *
 * decoder_publication.c
 *		What publications say of a table.
 *
 * Several publications add up: an action is published that one of them
 * publishes, a row that passes the filter of one of them.  The changes of a
 * partition are shown as those of the topmost ancestor that is published with
 * publish_via_partition_root, and then only the publications of that ancestor
 * count for filters and columns.  Of several column lists the columns count
 * that stand in all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"

/* A table on its way through the publications. */
typedef struct Search
{
	Relation relation;
	List *publications; /* that it is in, or its schema */
	List *ancestors;
	int level;	  /* of the ancestor that it is shown as; 0: itself */
	List *counts; /* publications that count for that one */
} Search;

static bool is_in(const Search *search, const Publication *publication,
				  Oid *shown_as, int *level);
static void read_membership(const Publication *publication, bool unfiltered[3],
							DecoderPublished *published);

bool
plinth_decoder_published(const DecoderScope *scope, Relation relation,
						 DecoderPublished *published)
{
	Oid relid = RelationGetRelid(relation);
	Search search = {.relation = relation};
	bool unfiltered[3] = {false, false, false};
	ListCell *cell;

	memset(published, 0, sizeof(DecoderPublished));
	published->shown_as = relid;
	if (!is_publishable_relation(relation))
		return false;
	if (scope->every_table)
	{
		/* a TRUNCATE names partitioned tables beside their partitions */
		if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			return false;
		for (int i = 0; i < 4; i++)
			published->publishes[i] = true;
		return true;
	}

	search.publications =
		list_concat_copy(GetRelationPublications(relid),
						 GetSchemaPublications(RelationGetNamespace(relation)));
	if (relation->rd_rel->relispartition)
		search.ancestors = get_partition_ancestors(relid);

	foreach (cell, scope->publications)
	{
		Oid oid = get_publication_oid(lfirst(cell), true);
		Publication *publication;
		Oid shown_as = relid;
		int level = 0;

		if (!OidIsValid(oid))
			continue;
		publication = GetPublication(oid);
		if (!is_in(&search, publication, &shown_as, &level))
			continue;
		if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
			!publication->pubviaroot)
			continue;

		published->publishes[WIRE_INSERT] |= publication->pubactions.pubinsert;
		published->publishes[WIRE_UPDATE] |= publication->pubactions.pubupdate;
		published->publishes[WIRE_DELETE] |= publication->pubactions.pubdelete;
		published->publishes[WIRE_TRUNCATE] |=
			publication->pubactions.pubtruncate;
		if (level > search.level)
		{
			search.level = level;
			search.counts = NIL;
			published->shown_as = shown_as;
		}
		if (level == search.level)
			search.counts = lappend(search.counts, publication);
	}

	foreach (cell, search.counts)
		read_membership(lfirst(cell), unfiltered, published);
	for (int i = 0; i < 3; i++)
		if (unfiltered[i])
			published->filters[i] = NIL;

	return search.counts != NIL;
}

/*
 * Is the table in the publication, by itself, its schema or an ancestor?  As
 * what is it shown, and how far up is that?
 */
static bool
is_in(const Search *search, const Publication *publication, Oid *shown_as,
	  int *level)
{
	bool is_in = publication->alltables ||
				 list_member_oid(search->publications, publication->oid);

	if (search->ancestors != NIL)
	{
		Oid ancestor;
		int height;

		if (publication->alltables)
		{
			ancestor = llast_oid(search->ancestors);
			height = list_length(search->ancestors);
		}
		else
			ancestor = GetTopMostAncestorInPublication(
				publication->oid, search->ancestors, &height);

		if (OidIsValid(ancestor))
		{
			is_in = true;
			if (publication->pubviaroot)
			{
				*shown_as = ancestor;
				*level = height;
			}
		}
	}
	return is_in;
}

/*
 * Row filter and column list of the table in a publication.  A publication of
 * all tables or of the schema has neither.
 */
static void
read_membership(const Publication *publication, bool unfiltered[3],
				DecoderPublished *published)
{
	const bool publishes[3] = {publication->pubactions.pubinsert,
							   publication->pubactions.pubupdate,
							   publication->pubactions.pubdelete};
	Oid schema = get_rel_namespace(published->shown_as);
	HeapTuple tuple = NULL;
	char *filter = NULL;

	if (!publication->alltables &&
		!SearchSysCacheExists2(PUBLICATIONNAMESPACEMAP, ObjectIdGetDatum(schema),
							   ObjectIdGetDatum(publication->oid)))
		tuple = SearchSysCache2(PUBLICATIONRELMAP,
								ObjectIdGetDatum(published->shown_as),
								ObjectIdGetDatum(publication->oid));
	if (HeapTupleIsValid(tuple))
	{
		bool none;
		Datum datum = SysCacheGetAttr(PUBLICATIONRELMAP, tuple,
									  Anum_pg_publication_rel_prqual, &none);

		if (!none)
			filter = TextDatumGetCString(datum);
		datum = SysCacheGetAttr(PUBLICATIONRELMAP, tuple,
								Anum_pg_publication_rel_prattrs, &none);
		if (!none)
		{
			Bitmapset *columns =
				pub_collist_to_bitmapset(NULL, datum, CurrentMemoryContext);

			published->columns = published->has_columns
									 ? bms_intersect(published->columns, columns)
									 : columns;
			published->has_columns = true;
		}
		ReleaseSysCache(tuple);
	}

	for (int i = 0; i < 3; i++)
	{
		if (!publishes[i])
			continue;
		if (filter == NULL)
			unfiltered[i] = true;
		else
			published->filters[i] = lappend(published->filters[i], filter);
	}
}
